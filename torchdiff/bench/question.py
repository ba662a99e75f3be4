"""What is asked of a bench, checked before anything is run, and the runs that it comes to."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch

from torchdiff import inputs
from torchdiff.bench.contenders import Contender, Ready, Scene
from torchdiff.bench.entrants import contender
from torchdiff.bench.specs import listed, split, wholes
from torchdiff.bench.subject import Subject
from torchdiff.errors import OptionError, TorchdiffError, shown
from torchdiff.registry import GRIDS, METRICS, SDES, SOLVERS
from torchdiff.sde.base import LinearSDE

DEFAULT = "default"  # the grid that `sample` takes
MOST = 100_000
DTYPES = tuple(str(dtype).removeprefix("torch.") for dtype in inputs.DTYPES)  # of states; the first by default


@dataclass(frozen=True)
class Question:
    """Specs as text, so that it is its own record. way: "calls" or "steps", what the numbers in `asked` are of."""

    subject: str
    words: str
    data: str
    sde: str
    solvers: tuple[str, ...]
    grids: tuple[str, ...]
    way: str
    asked: tuple[int, ...]
    seeds: tuple[int, ...]
    count: int
    batch: int
    metrics: tuple[str, ...]
    prediction: str
    device: str
    conditions: str = ""
    shape: tuple[int, ...] = ()
    dtype: str = "float32"

    def config(self) -> dict[str, Any]:
        """All of it, for the header: what must be equal for two runs to be one bench."""
        fields = {name: list(v) if isinstance(v, tuple) else v for name, v in vars(self).items()}
        del fields["words"]
        return fields

    def command(self) -> str:
        """The command that asks it. A network or target keeps the words that named it."""
        known = {"sde": self.sde, "solvers": ",".join(self.solvers), "grids": ",".join(self.grids)}
        known |= {self.way: ",".join(map(str, self.asked)), "seeds": ",".join(map(str, self.seeds))}
        known |= {"count": self.count, "batch": self.batch, "metrics": ",".join(self.metrics)}
        if self.prediction:
            known["prediction"] = self.prediction
        if self.dtype != DTYPES[0]:
            known["dtype"] = self.dtype
        words = " ".join(f"--{name} {_quoted(str(value))}" for name, value in known.items())
        return f"torchdiff bench {self.words} {words}"


class Job(NamedTuple):
    """One cell to be made."""

    key: str
    contender: Contender
    grid: str | None
    ready: Ready
    way: str
    asked: int
    seed: int

    @property
    def entry(self) -> str:
        return entry(self.contender.spec, self.ready.grid)

    def refreshed(self, scene: Scene) -> Job:
        """The same with its plan at hand again, which is not measured."""
        return self._replace(ready=self.contender.ready(scene, self.way, self.asked, self.grid))


def entry(solver: str, grid: str) -> str:
    """What competes: a solver on a grid."""
    return f"{solver} | {grid}"


def budget(way: str, asked: int) -> str:
    return f"{way}={asked}"


def question(
    subject: Subject,
    sde: LinearSDE | str,
    solvers: str | Iterable[str],
    grids: str | Iterable[str] | None,
    calls: Any,
    steps: Any,
    seeds: Any,
    count: int,
    batch: int,
    metrics: str | Iterable[str] | None,
    prediction: str | None,
    device: torch.device,
    dtype: Any = None,
) -> Question:
    """The checked question. Raises errors of the ValueError family, each naming what came and what would do."""
    if (calls is None) == (steps is None):
        raise OptionError("give one of calls and steps: how many network calls, or steps, to try")
    way = "calls" if steps is None else "steps"
    asked = wholes(way, calls if steps is None else steps, 1, MOST)
    named = [m for m in ([*subject.metrics] if metrics is None else _texts(metrics))]
    scores = list(dict.fromkeys(METRICS.label(METRICS.get(name)) for name in named))
    if not scores:
        raise OptionError(f"no metric is named; known: {', '.join(METRICS.names())}")
    laid = list(dict.fromkeys(_grid(name) for name in (listed(grids, GRIDS) if grids is not None else [DEFAULT])))
    return Question(
        subject.name,
        subject.words,
        subject.data,
        SDES.label(SDES.get(sde)),
        tuple(dict.fromkeys(contender(spec).spec for spec in listed(solvers, SOLVERS))),
        tuple(laid),
        way,
        asked,
        wholes("seeds", seeds, 0, 2**63 - 1),
        _whole("count", count, 2),
        min(_whole("batch", batch, 1), count),
        tuple(scores),
        prediction or "",
        str(device),
        subject.conditions,
        subject.shape,
        _dtype(dtype),
    )


def jobs(asked: Question, scene: Scene) -> tuple[list[Job], list[dict[str, str]]]:
    """(the runs in their order, what cannot run and why).

    All contenders with the first seed, then with the next: what a budget or a kill leaves is the whole field, thinner.
    """
    found: dict[str, Job] = {}
    left: list[dict[str, str]] = []
    for number in asked.asked:
        for spec in asked.solvers:
            one = contender(spec)
            for name in asked.grids if one.gridded else asked.grids[:1]:
                grid = None if name == DEFAULT else name
                try:
                    ready = one.ready(scene, asked.way, number, grid)
                except TorchdiffError as error:
                    why = " ".join(str(error).split())
                    left.append({"solver": spec, "grid": name, "budget": budget(asked.way, number), "why": why})
                    continue
                key = f"{entry(spec, ready.grid)} | {budget(asked.way, number)}"
                key += f" | {ready.chose}" if ready.chose else ""  # what it chooses in another version is another run
                found.setdefault(key, Job(key, one, grid, ready, asked.way, number, 0))
    if not found:
        raise OptionError(f"no solver can run: {left[0]['solver']}: {left[0]['why']}")
    return [job._replace(key=f"{job.key} | seed={s}", seed=s) for s in asked.seeds for job in found.values()], left


def _grid(name: str) -> str:
    return DEFAULT if name == DEFAULT else GRIDS.label(GRIDS.get(name))


def _texts(names: str | Iterable[str]) -> list[str]:
    """Of metrics: their patterns mean nothing."""
    return split(names) if isinstance(names, str) else list(names)


def _dtype(given: Any) -> str:
    name = DTYPES[0] if given is None else str(given).removeprefix("torch.")
    if name not in DTYPES:
        raise OptionError(f"dtype is one of {', '.join(DTYPES)}, got {shown(given)}")
    return name


def _whole(name: str, value: Any, least: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= 10**9:
        raise OptionError(f"{name} is a whole number from {least} on, got {shown(value)}")
    return value


def _quoted(text: str) -> str:
    return f"'{text}'" if set(text) & set("()*?[] ;&|<>$") else text
