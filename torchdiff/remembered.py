"""Plans that were asked for before: a run with the same words does not plan again."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

from torchdiff.auto import AUTO, is_auto
from torchdiff.denoiser import Denoiser
from torchdiff.planner import request
from torchdiff.plans import Plan
from torchdiff.recent import Recent
from torchdiff.registry import GRIDS, SDES, SOLVERS
from torchdiff.steps import AffineStep

KEPT = 16  # plans, some 2 KB a step each


def planned(sde: Any, solver: Any, denoiser: Denoiser, watch: bool, **options: Any) -> Plan:
    """What `request` and `trace` make of these words; see `plan` for them.

    Remembered where it can depend on nothing but values: SDE, solver and grid are frozen dataclasses of this package
    (whoever works on a class of their own changes it between two runs), and the denoiser has no function that the plan
    asks.
    """
    sde, solver = SDES.get(sde), AUTO if is_auto(solver) else SOLVERS.get(solver)
    if isinstance(options["grid"], str):
        options["grid"] = GRIDS.get(options["grid"])
    for name in ("times", "sigmas"):
        if hasattr(options[name], "__iter__"):
            options[name] = tuple(options[name])  # an iterator can be read once
    words = (sde, solver, *options.values())
    plain = type(denoiser) is Denoiser and _by_value(denoiser.convention) and _by_value(denoiser.input_scale)
    if not plain or not all(map(_by_value, words)):
        return _plan(sde, solver, denoiser, watch, tuple(options.items()))
    return _remembered(sde, solver, denoiser.prediction, denoiser.input_scale, watch, tuple(options.items()))


@functools.lru_cache(maxsize=KEPT)
def _remembered(sde: Any, solver: Any, prediction: str, input_scale: str | None, watch: bool, options: tuple) -> Plan:
    return _plan(sde, solver, Denoiser(None, prediction, input_scale=input_scale), watch, options)


def _plan(sde: Any, solver: Any, denoiser: Denoiser, watch: bool, options: tuple) -> Plan:
    return request(sde, solver, denoiser, **dict(options)).trace(denoiser, watch=watch)


def labels(plan: Plan, denoiser: Any) -> list[float]:
    """What the network gets as t at each item of a plan, 0 where it is not called. Remembered as plans are."""
    known, words = _labels(plan), None
    if type(denoiser) is Denoiser and _by_value(denoiser.time) and _by_value(denoiser.convention):
        words = (denoiser.time, denoiser.convention)
    if words is None or words not in known:
        called = [item.at if isinstance(item, AffineStep) else None for item in plan.items]
        known[words] = [0.0 if level is None else denoiser.label(level) for level in called]
    return known[words]


_labels: Recent[dict[Any, list[float]]] = Recent(lambda plan: {})


def _by_value(value: Any) -> bool:
    """Whether equal means the same for ever: plain numbers and strings, and tuples and dataclasses of ours of them.

    Not True and False, which equal 1 and 0, but for the fields of a dataclass, which have checked them.
    """
    if value is None or type(value) in (str, int, float):
        return True
    if type(value) is tuple:
        return all(map(_by_value, value))
    if not dataclasses.is_dataclass(value) or type(value).__module__.partition(".")[0] != "torchdiff":
        return False
    if not getattr(value, "by_value", True):  # it names a file
        return False
    fields = [getattr(value, field.name) for field in dataclasses.fields(value)]
    return all(type(field) is bool or _by_value(field) for field in fields)
