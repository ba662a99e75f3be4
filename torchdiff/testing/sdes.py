"""check_sde: the laws of a linear SDE on an object, as a report."""

from __future__ import annotations

import copy
import math
import pickle
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np

from torchdiff.registry import SDES, Registry
from torchdiff.sde.base import LinearSDE, ScalarSDE
from torchdiff.testing import sde_laws
from torchdiff.testing.report import Found, Laws, Report, See, examine, held, skipped, unseen
from torchdiff.testing.sde_laws import Worst, matrix

# closed forms reach 1e-12; a wrong letter is above 1e-3; what a process computes by numbers lies between
EXACT = 1e-8
SLOPES = 1e-6  # the derivative of what is itself good to EXACT
DIGITS = 1e-6  # of the variance of a short step: what float32 sampling needs; a naive difference keeps none for blocks
PRIOR = 0.5  # log of the ratio of standard deviations; a variance in the place of a deviation is far beyond


def check_sde(sde: LinearSDE | str, *, see: See = unseen) -> Report:
    """Measure the laws that every built-in process passes on this one.

    sde: an object, its class, or a registered name with options.
    Returns a Report: `assert report`, str(report) for the table. Each error is relative; `declared` is what is allowed.
    Raises UnknownNameError, OptionError or PluginError for what names no process.
    """
    sde = SDES.get(sde)
    return Report("sde", SDES.label(sde), tuple(examine(_laws(sde), see)))


def _laws(sde: LinearSDE) -> Laws:
    def limit(law: Callable[[Any], Worst], allowed: float) -> Callable[[], Iterable[Found]]:
        def run() -> Iterator[Found]:
            found = law(sde)
            yield held(found.where, found.error, f"<= {allowed:g}", found.error <= allowed, (law.__doc__ or "").strip())

        return run

    def scalar(law: Callable[[Any], Worst], allowed: float) -> Callable[[], Iterable[Found]]:
        return limit(law, allowed) if isinstance(sde, ScalarSDE) else lambda: [skipped("it has more than one block")]

    return (
        ("levels are finite at both ends", lambda: _ends(sde)),
        ("times outside are refused", lambda: _outside(sde)),
        ("transitions compose", limit(sde_laws.compose, EXACT)),
        ("transition from the data gives the marginal", limit(sde_laws.from_data, EXACT)),
        ("drift and noise match the marginals", limit(sde_laws.moments, SLOPES)),
        ("short spans keep their digits", limit(sde_laws.short, DIGITS)),
        ("at inverts half_log_snr", scalar(sde_laws.inverse, EXACT)),
        ("rates are derivatives", scalar(sde_laws.rates, SLOPES)),
        ("the prior is near the law at t_max", limit(sde_laws.prior, PRIOR)),
        *values(SDES, sde),
    )


def _ends(sde: LinearSDE) -> Iterator[Found]:
    for t in (0.0, sde.t_min, sde.t_max):
        level = sde.level(t)
        finite = all(np.isfinite(matrix(part)).all() for part in level[1:])
        yield held(f"t = {t:g}", "finite" if finite else "not finite", "finite", finite and level.t == t)
    gap = float(np.abs(matrix(sde.level(0.0).alpha) - np.eye(sde.blocks)).max())
    yield held("|alpha(0) - 1|", gap, f"<= {EXACT:g}", gap <= EXACT, "t = 0 is the data")
    least = float(np.diag(matrix(sde.level(sde.t_max).sigma)).min())
    yield held("least sigma(t_max)", least, "> 0", least > 0.0)
    t = 0.5 * sde.t_max
    mean, factor = map(matrix, sde.transition(t, t))
    still = np.array_equal(mean, np.eye(sde.blocks)) and not factor.any()
    yield held(f"no span at t = {t:g}", "identity" if still else f"{mean}, {factor}", "identity", still)


def _outside(sde: LinearSDE) -> Iterator[Found]:
    for bad in (-1e-3 * sde.t_max, 1.5 * sde.t_max, math.nan):
        for name in ("level", "drift", "noise", "prior", "transition"):
            arguments = (bad,) if name != "transition" else (bad, 0.5 * sde.t_max)
            try:
                answer = f"{getattr(sde, name)(*arguments)}"
            except ValueError:
                continue
            yield held(f"{name}({bad:g})", answer[:40], "ValueError", False, "check_time raises it")
    yield held("", "ValueError", "ValueError", True)


def values(registry: Registry[Any], thing: Any) -> Laws:
    """The laws of what plans and caches use as keys and files as text."""

    def value() -> Iterator[Found]:
        for name, again in (("a copy", copy.deepcopy(thing)), ("a pickle", pickle.loads(pickle.dumps(thing)))):
            same = again == thing and hash(again) == hash(thing)
            yield held(name, "equal" if same else "not equal", "equal", same, "a frozen dataclass is")

    def spec() -> Iterator[Found]:
        if registry.name_of(type(thing)) is None:
            yield skipped(f"it is no registered {registry.kind}")
            return
        text = registry.spec(thing)
        same = registry.get(text) == thing
        yield held(text, "equal" if same else "not equal", "equal", same, "get(spec(x)) == x")

    return ("it is a value", value), ("its spec reads back", spec)
