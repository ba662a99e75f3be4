"""The plan of a run: every coefficient, in float64, before the first network call."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, replace
from typing import Any

from torchdiff.blocks import Mat
from torchdiff.counters import block_of
from torchdiff.errors import PlanError
from torchdiff.intervals import check_apart
from torchdiff.plan_text import count, table
from torchdiff.registry import SDES, SOLVERS
from torchdiff.sde.base import Level, LinearSDE
from torchdiff.solvers.base import Solver, Span
from torchdiff.split import split
from torchdiff.steps import AffineStep, OpaqueStep, calls_of, slots_after

FORMAT = 1  # of the JSON


@dataclass(frozen=True)
class Plan:
    """Items to execute in order on a state that starts as the blocks of x; `result` are the slots of the answer.

    str(plan) is a table, to_json() and from_json() lose nothing. sde, solver and prediction say what it was made from.
    noise is "white" or "brownian"; spans are the (draw, start, end) of the draws that are increments of a Brownian path
    by the root of their length: standard normals as all draws, and independent, for no two of a block overlap. areas
    are those that are its space-time Levy areas by the root of a twelfth of it, over intervals as the spans have them.
    """

    items: tuple[AffineStep | OpaqueStep, ...]
    result: tuple[int, ...]
    grid: tuple[Level, ...]
    sde: LinearSDE
    solver: Solver
    prediction: str
    final: bool  # whether the last interval is the denoising one
    noise: str = "white"
    spans: tuple[tuple[int, float, float], ...] = ()
    areas: tuple[tuple[int, float, float], ...] = ()

    @property
    def blocks(self) -> int:
        return self.sde.blocks

    @property
    def steps(self) -> int:
        """Intervals of the grid, the final denoising one left out."""
        return len(self.grid) - 1 - self.final

    @property
    def calls(self) -> int | None:
        """Network calls of a run, the final one included; None where a step chooses them once it runs."""
        calls = calls_of(self.items)
        return None if None in calls else sum(filter(None, calls))

    @property
    def draws(self) -> tuple[int, ...]:
        """The draw numbers of the affine rows, each once, in order of first use."""
        return tuple(dict.fromkeys(d for item in self.items if isinstance(item, AffineStep) for d in item.draws))

    @property
    def growth(self) -> float:
        """The largest sum of absolute weights of a row that holds x: by how much an error can grow in one step."""
        rows = (
            sum(map(abs, (*item.weights[slot], *item.noise[slot])))
            for item in self.items
            if isinstance(item, AffineStep)
            for slot in item.shows
            if slot < len(item.weights)
        )
        return max(rows, default=1.0)

    def split(self) -> Plan:
        """The same plan without items that are wider than one call of the op."""
        return replace(self, items=split(self.items, self.blocks, stored=self.noise == "brownian"))

    def check(self) -> Plan:
        """This plan. Raises PlanError naming step and level if a weight is not finite, or an item that does not fit."""
        slots = self.blocks
        for place, item in enumerate(self.items):
            slots = self._fit(place, item, slots)
            if isinstance(item, AffineStep):
                for weight in (w for row in (*item.weights, *item.noise) for w in row):
                    if weight - weight != 0.0:  # true for nan and infinities only
                        cur, nxt = self.grid[item.step], self.grid[item.step + 1]
                        raise PlanError(
                            f"{self.solver!r} on {self.sde!r} has a weight of {weight} in step {item.step}, from "
                            f"t = {cur.t:g} {_level(cur)} to t = {nxt.t:g} {_level(nxt)}; "
                            f"keep the grid away from there with t_max or t_min"
                        )
        if self.noise not in ("white", "brownian") or ((self.spans or self.areas) and self.noise == "white"):
            raise PlanError(
                f"a plan's noise is 'white' or 'brownian', and only the latter has spans; got {self.noise!r}"
            )
        for block in {block_of(draw) for draw, *_ in (*self.spans, *self.areas)}:
            ours = [[(s, e) for d, s, e in known if block_of(d) == block] for known in (self.spans, self.areas)]
            for intervals in (*ours, {*ours[0], *ours[1]}):  # increment and area of one interval are independent
                check_apart(self.sde, intervals)
        if not all(0 <= slot < slots for slot in self.result):
            raise PlanError(f"the plan's result {self.result} lies outside its {slots} slots")
        return self

    def _fit(self, place: int, item: AffineStep | OpaqueStep, slots: int) -> int:
        """How many slots the state has after an item; PlanError if the item reads what is not there."""
        live, after = slots, slots_after(item, self.blocks)
        whole = True
        if isinstance(item, AffineStep):
            live = slots + len(item.mix) * (item.at is not None)
            whole = len(item.noise) == len(item.weights)
            whole = whole and all(len(row) == len(item.reads) for row in item.weights)
            whole = whole and all(len(row) == len(item.draws) for row in item.noise)
            whole = whole and all(0 <= slot < live for slot in item.reads)
        whole = whole and all(0 <= slot < slots for slot in item.feed) and all(0 <= slot < live for slot in item.keep)
        whole = whole and all(0 <= slot < after for slot in item.shows)
        if not whole or not 0 <= item.step < len(self.grid) - 1:
            raise PlanError(f"item {place} of the plan does not fit the {slots} slots of the state before it")
        return after

    def table(self, limit: int | None = None) -> str:
        """The plan as text: a line a row. limit: at most so many items, the middle left out."""
        return table(self, limit)

    def __str__(self) -> str:
        return self.table(limit=40)

    def __repr__(self) -> str:
        calls = count(self.calls, "call")
        return f"Plan({SOLVERS.label(self.solver)} on {SDES.label(self.sde)}, {self.steps} steps, {calls})"

    def to_json(self) -> str:
        """JSON text without loss: floats as the shortest digits that give the same float64.

        Raises UnknownNameError for an SDE or solver that is not registered: its name is how it comes back.
        """
        return json.dumps(
            {
                "format": FORMAT,
                "sde": SDES.spec(self.sde),
                "solver": SOLVERS.spec(self.solver),
                "prediction": self.prediction,
                "final": self.final,
                "noise": self.noise,
                "spans": self.spans,
                "areas": self.areas,
                "grid": [list(level) for level in self.grid],
                "result": self.result,
                "items": [_dump(item) for item in self.items],
            },
            allow_nan=False,
        )

    @staticmethod
    def from_json(text: str) -> Plan:
        """The plan that to_json wrote. Raises PlanError saying what is wrong with the text."""
        try:
            data = json.loads(text)
            if data["format"] != FORMAT:
                raise PlanError(f"plan JSON has format {data['format']!r}, this version reads {FORMAT}")
            sde, solver = SDES.get(data["sde"]), SOLVERS.get(data["solver"])
            grid = tuple(_load_level(level) for level in data["grid"])
            spans, areas = (
                tuple((int(draw), float(start), float(end)) for draw, start, end in data[key])
                for key in ("spans", "areas")
            )
            start = (grid, sde, solver, data["prediction"], bool(data["final"]), data["noise"], spans, areas)
            empty = Plan((), tuple(data["result"]), *start)
            read = replace(empty, items=tuple(_load(item, empty) for item in data["items"])).check()
            return read.split()
        except (KeyError, TypeError, IndexError, AttributeError, RecursionError, json.JSONDecodeError) as error:
            raise PlanError(f"this is not the JSON of a plan: {type(error).__name__}: {error}") from error


def _level(level: Level) -> str:
    return f"(alpha = {level.alpha:g}, sigma = {level.sigma:g})" if level.scalar else f"({len(level.alpha)} blocks)"


def _dump(item: AffineStep | OpaqueStep) -> dict[str, Any]:
    if isinstance(item, AffineStep):
        return item._asdict()
    return {
        "part": SOLVERS.spec(item.part),
        **{k: getattr(item, k) for k in ("index", "feed", "keep", "step", "shows")},
    }


def _load(data: dict[str, Any], plan: Plan) -> AffineStep | OpaqueStep:
    feed, keep, shows = tuple(data["feed"]), tuple(data["keep"]), tuple(data["shows"])
    if "part" in data:
        span = Span(plan.sde, plan.grid, data["step"])
        return OpaqueStep(SOLVERS.get(data["part"]), data["index"], span, feed, keep, data["step"], shows)
    weights, noise = (tuple(tuple(row) for row in data[key]) for key in ("weights", "noise"))
    at = None if data["at"] is None else _load_level(data["at"])
    reads, draws = tuple(data["reads"]), tuple(data["draws"])
    call = (data["scale"], tuple(data["mix"]), tuple(data["meaning"]))
    return AffineStep(at, feed, reads, weights, draws, noise, keep, data["step"], shows, *call)


def _load_level(data: list[Any]) -> Level:
    t, alpha, sigma = data
    level = Level(t, Mat(alpha), Mat(sigma)) if isinstance(alpha, list) else Level(t, alpha, sigma)
    numbers = (t, alpha, sigma) if level.scalar else (t, *sum(level.alpha, ()), *sum(level.sigma, ()))
    if not all(isinstance(number, int | float) and math.isfinite(number) for number in numbers):
        raise PlanError(f"a level of the plan is {data!r}; expected finite numbers t, alpha, sigma")
    return level
