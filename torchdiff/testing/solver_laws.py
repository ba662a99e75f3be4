"""The laws of a solver's steps on tensors, on one process: each yields what it measured beside what was declared."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from torchdiff.counters import PRIOR, STEP, draw_number
from torchdiff.denoiser import Denoiser
from torchdiff.errors import PlanError
from torchdiff.noise import normal as counted
from torchdiff.planner import request
from torchdiff.registry import SDES
from torchdiff.sampling import sample
from torchdiff.sde.base import LinearSDE, ScalarSDE
from torchdiff.solvers.base import Solver
from torchdiff.testing.report import Found, held, skipped
from torchdiff.testing.walk import Key, Walk, field_of, normal, walk

STEPS, SHAPE, SEED = 6, (3, 5), 11
COUNTS = (*range(1, 51), 1000)
AT_LARGE = (1, 2, 5, 20)  # intervals for solvers that choose their steps themselves
TRACED = (
    1e-12  # sums in another order differ by the rounding of some dozen float64 terms, times an early step's weights
)


@dataclass(frozen=True)
class Bench:
    """A solver that goes from level to level, the parts of it that are looked at, a process, and the longest run."""

    solver: Solver
    count: int  # of its parts, from the first: those of the solver that is checked
    sde: LinearSDE
    finest: int = COUNTS[-1]

    @property
    def case(self) -> str:
        return SDES.label(self.sde)

    @property
    def denoiser(self) -> Denoiser:
        return Denoiser(field_of, prediction_for(self.sde))

    @property
    def parts(self) -> tuple[Solver, ...]:
        return self.solver.parts()[: self.count]

    def wish(self, steps: int = STEPS, **ends: Any) -> Any:
        ends = {"t_min": None, "t_max": None, "grid": None, "final": None} | ends
        return request(self.sde, self.solver, self.denoiser, steps=steps, calls=None, times=None, **ends)

    def walk(self, shape: tuple[int, ...] = SHAPE, dtype: torch.dtype = torch.float64, **more: Any) -> Walk:
        return walk(self.wish(), self.denoiser, lambda key: normal(shape, key, dtype), **more)


def prediction_for(sde: LinearSDE) -> str:
    """A prediction that is defined at every level of the default range."""
    if not isinstance(sde, ScalarSDE):
        return "score"
    return "flow" if math.isclose(sde.level(sde.t_max).alpha, 0.0) else "eps"


def traced(bench: Bench) -> Iterator[Found]:
    """A plan run by the executor gives what the formula gives on tensors, with the same noise."""
    got = sample(
        bench.denoiser, bench.sde, bench.solver, steps=STEPS, shape=SHAPE, seed=SEED, dtype=torch.float64
    ).state

    want = formula(bench.wish(), bench.denoiser)
    scale = max(float(w.abs().max()) for w in want)
    gap = max(float((g - w).abs().max().nan_to_num(math.inf)) for g, w in zip(got, want, strict=True)) / scale
    yield held(bench.case, gap, f"<= {TRACED:g}", gap <= TRACED, "a step may only read x, its span, predict and noise")


def formula(wish: Any, denoiser: Denoiser, shape: tuple[int, ...] = SHAPE, after: Any = None) -> tuple[Tensor, ...]:
    """What `sample` with seed SEED should give in float64: the steps on tensors, with the noise that a run has."""

    def normals(key: Key) -> Tensor:
        step, part, call, block = key
        draw = draw_number(PRIOR, block=block) if step < 0 else draw_number(STEP, step, part, call, block)
        return counted(shape, seed=SEED, draw=draw, dtype=torch.float64)

    return walk(wish, denoiser, normals, after=after).state


def deterministic(bench: Bench) -> Iterator[Found]:
    """A solver that says so draws nothing; one that does not draws somewhere, `draws` times a step at most."""
    steps = bench.walk().of(bench.count)
    for index, part in enumerate(bench.parts):
        drawn = [step.draws for step in steps if step.index == index]
        says = f"deterministic = {part.deterministic}, draws = {part.draws}"
        note = "where it is deterministic it runs from data to noise too"
        good = part.deterministic == (sum(drawn) == 0) and part.draws in (None, max(drawn, default=part.draws))
        yield held(bench.case, f"{max(drawn, default=0)} draws a step", says, good, note)


def calls(bench: Bench) -> Iterator[Found]:
    """`calls` is the number of network calls of a step: exactly on tensors, at most for a plan, which counts itself.

    In the first step `opening` more.
    """
    steps = bench.walk().of(bench.count)
    for index, part in enumerate(bench.parts):
        if part.calls is None:
            yield skipped("it chooses them once it runs (calls = None)", bench.case)
            continue
        made = [step.calls for step in steps if step.index == index]
        made[:1] = [count - part.opening for count in made[:1]]
        good = max(made, default=part.calls) == part.calls and (part.affine or len(set(made)) <= 1)
        found = " or ".join(map(str, sorted(set(made))))
        yield held(bench.case, f"{found} a step", f"calls = {part.calls}", good)


def memory(bench: Bench) -> Iterator[Found]:
    """`memory` memos are read, no fewer: one less changes the samples, and without memory nothing is remembered."""
    whole, less = bench.walk(), bench.walk(forget=True)
    reads = any(not torch.equal(a, b) for a, b in zip(whole.state, less.state, strict=True))
    for index, part in enumerate(bench.parts):
        memos = any(step.memo for step in whole.of(bench.count) if step.index == index)
        if part.memory == 0:
            measured = "remembers" if memos else "remembers nothing"
            yield held(bench.case, measured, "memory = 0", not memos, "what it remembers never comes back")
        else:
            measured = f"{part.memory}" if reads else f"fewer than {part.memory}"
            yield held(bench.case, measured, f"memory = {part.memory}", reads, "one memo less changes nothing")


def finite(bench: Bench) -> Iterator[Found]:
    """Every weight of a plan is finite, or every sample of a solver on tensors, at 1 to 50 steps and at 1000.

    At those of them that are no more than `finest`.
    """
    affine = all(part.affine for part in bench.solver.parts())
    counts = COUNTS if bench.solver.calls is not None else AT_LARGE
    counts = [count for count in counts if count <= max(bench.finest, counts[0])]
    for steps in counts:
        try:
            bad = _bad(bench, steps, affine)
        except (PlanError, ArithmeticError) as error:
            bad = f"{type(error).__name__}: {error}"
        if bad:
            yield held(bench.case, f"not at {steps} steps", "finite", False, bad)
            return
    yield held(bench.case, "finite", f"finite at {counts[0]} to {counts[-1]} steps", True)


def _bad(bench: Bench, steps: int, affine: bool) -> str:
    wish, denoiser = bench.wish(steps), bench.denoiser
    if affine:
        wish.trace(denoiser)  # raises PlanError for a weight that is not finite
        return ""
    state = walk(wish, denoiser, lambda key: normal((2, 2), key, torch.float64)).state
    return "" if all(bool(block.isfinite().all()) for block in state) else "a sample is not finite"


def inputs(bench: Bench) -> Iterator[Found]:
    """A step writes into nothing that it was given: x, its past, the network's outputs, its noise."""
    wrote = [name for step in bench.walk().of(bench.count) for name in step.wrote]
    yield held(bench.case, f"writes into {wrote[0]}" if wrote else "writes nothing", "writes nothing", not wrote)


def shape_and_dtype(bench: Bench) -> Iterator[Found]:
    """A step returns the blocks of x, with its shape and its dtype."""
    for shape, dtype in ((SHAPE, torch.float32), (SHAPE, torch.float64), ((2, 2, 3), torch.float32)):
        wrong = [text for step in bench.walk(shape, dtype).of(bench.count) for text in step.shapes]
        if wrong:
            yield held(bench.case, wrong[0], f"{bench.sde.blocks} of {shape} {dtype}", False)
            return
    yield held(bench.case, "as x", "as x", True)


def batch(bench: Bench) -> Iterator[Found]:
    """A sample does not depend on those beside it: each row alone gives what it gives in the batch."""
    wish, denoiser = bench.wish(), bench.denoiser

    def run(rows: slice) -> tuple[Tensor, ...]:
        return walk(wish, denoiser, lambda key: normal(SHAPE, key, torch.float64)[rows]).state

    whole, gap = run(slice(None)), 0.0
    for i in range(SHAPE[0]):
        for a, b in zip(whole, run(slice(i, i + 1)), strict=True):
            apart = float((a[i : i + 1] - b).abs().max())
            gap = max(gap, math.inf if math.isnan(apart) else apart and apart / float(a.abs().max()))
    # 1e-12: a vector loop and its rest may round an exp or a sum differently
    yield held(bench.case, gap, "<= 1e-12", gap <= 1e-12, "a step mixes the samples of a batch")


def repeats(bench: Bench) -> Iterator[Found]:
    """A step is a function of what it is given: run again, in this order and after other runs, it gives the same."""
    first = bench.walk().state
    bench.walk((2, 4))
    same = all(torch.equal(a, b) for a, b in zip(first, bench.walk().state, strict=True))
    yield held(bench.case, "the same" if same else "other samples", "the same", same, "noise comes from noise() alone")


def random_state(bench: Bench) -> Iterator[Found]:
    """The global generators of torch, random and numpy stay as they are."""
    sources = {
        "torch": (torch.get_rng_state, torch.set_rng_state, lambda: torch.manual_seed(20260101)),
        "random": (random.getstate, random.setstate, lambda: random.seed(20260101)),
        "numpy": (np.random.get_state, np.random.set_state, lambda: np.random.seed(20260101)),  # noqa: NPY002
    }
    before = {name: get() for name, (get, _, _) in sources.items()}
    touched: list[str] = []
    try:
        for _, _, seed in sources.values():  # so that a step that seeds them shows, whatever was seeded before
            seed()
        marks = {name: repr(_plain(get())) for name, (get, _, _) in sources.items()}
        bench.walk()
        touched = [name for name, (get, _, _) in sources.items() if repr(_plain(get())) != marks[name]]
    finally:
        for name, (_, put, _) in sources.items():
            put(before[name])
    yield held(bench.case, f"touches {', '.join(touched)}" if touched else "untouched", "untouched", not touched)


def _plain(state: Any) -> Any:
    """A state whose repr leaves nothing out."""
    if isinstance(state, Tensor | np.ndarray):
        return state.tolist()
    return tuple(map(_plain, state)) if isinstance(state, tuple) else state
