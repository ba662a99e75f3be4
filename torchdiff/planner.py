"""From names and numbers to a plan: the door where user input is checked."""

from __future__ import annotations

import math
from collections.abc import Iterable
from itertools import pairwise
from typing import Any, NamedTuple

from torchdiff.amounts import count
from torchdiff.auto import AUTO, is_auto, way
from torchdiff.conventions import CONVENTIONS
from torchdiff.denoiser import Denoiser
from torchdiff.errors import IncompatibleError, OptionError
from torchdiff.grids import Grid, Optimal, Uniform, default_grid, times_of
from torchdiff.plans import Plan
from torchdiff.registry import GRIDS, SDES, SOLVERS
from torchdiff.sde.base import Level, LinearSDE, ScalarSDE
from torchdiff.solvers.base import Solver, check_fit, fitting
from torchdiff.solvers.denoise import denoiser_for
from torchdiff.trace import trace


class Request(NamedTuple):
    """A checked wish: everything that a plan is made from but the network's meaning."""

    sde: LinearSDE
    solver: Solver
    grid: tuple[Level, ...]
    final: Solver | None
    noise: str = "white"

    def trace(self, denoiser: Denoiser, watch: bool = False) -> Plan:
        return trace(self.solver, self.sde, self.grid, denoiser, final=self.final, watch=watch, noise=self.noise)


def plan(
    sde: LinearSDE | str,
    solver: Solver | str = AUTO,
    *,
    steps: int | None = None,
    calls: int | None = None,
    times: Iterable[float] | None = None,
    sigmas: Iterable[float] | None = None,
    grid: Grid | str | None = None,
    t_min: float | None = None,
    t_max: float | None = None,
    denoiser: Denoiser | None = None,
    prediction: str | None = None,
    final: str | None = None,
    noise: str = "white",
) -> Plan:
    """The plan that `sample` executes: every coefficient of a run, before any network call.

    sde, solver, grid: objects, or registered names with options ("ddim:eta=0.5").
    solver "auto", the default, is the solver, and without a grid also the grid, that did best at this number of steps
    on this process (docs/auto.md); each of its steps is one network call.
    steps: intervals of the grid; calls: the most network calls to spend, the final one included; times: the grid
    itself, decreasing to sample, increasing to encode; sigmas: the grid as values of sigma / alpha, for one-block SDEs
    (on "flow" give times: its t is the sigma of flow models). One of the four. A last 0 of sigmas is the data: the run
    ends with the denoising step from the value before it, as it does by default without the 0.
    grid: "log_snr" where it is finite at both ends, else "uniform". t_max, t_min: its ends, by default the grid's own,
    which are the SDE's for all but "leading", "trailing" and "linspace". "optimal" is computed for the solver on
    Gaussian data, which takes seconds once, "optimal:spectrum=digits" on data of another spectrum.
    denoiser or prediction: what the network predicts; by default "eps", "flow" where alpha is 0 at the start, and
    "score" for block SDEs.
    final: "denoise" adds a last interval from t_min to the data, with one more call (the default where the grid ends
    above sigma = 0), "t_min" ends at t_min.
    noise: "white", other normals in each step, or "brownian": what a step over [s, t] draws is the increment over it of
    one Brownian path for each block of the state, on the clock t in [0, sde.t_max], divided by the root of its length.
    A seed is then one path at any number of steps. Noise over an interval that is empty (a corrector's), or that the
    step has asked for before, stays white.
    Raises UnknownNameError, OptionError, IncompatibleError or PlanError, each saying what came and what would do.
    """
    if denoiser is not None and not hasattr(denoiser, "meaning"):
        raise OptionError(f"denoiser is what torchdiff.wrap returns, got {denoiser!r}; a name goes into prediction")
    if (
        denoiser is not None
        and prediction is not None
        and CONVENTIONS.get(prediction) != CONVENTIONS.get(denoiser.prediction)
    ):
        raise OptionError(f"the denoiser predicts {denoiser.prediction!r}, prediction = {prediction!r} says otherwise")
    sde = SDES.get(sde)
    if denoiser is None:
        denoiser = Denoiser(None, prediction or likely(sde, sde.t_max if t_max is None else t_max))
    wish = request(
        sde,
        solver,
        denoiser,
        steps=steps,
        calls=calls,
        times=times,
        sigmas=sigmas,
        grid=grid,
        t_min=t_min,
        t_max=t_max,
        final=final,
        noise=noise,
    )
    return wish.trace(denoiser)


def request(
    sde: LinearSDE | str,
    solver: Solver | str,
    denoiser: Denoiser,
    *,
    steps: int | None,
    calls: int | None,
    times: Iterable[float] | None,
    grid: Grid | str | None,
    t_min: float | None,
    t_max: float | None,
    final: str | None,
    sigmas: Iterable[float] | None = None,
    noise: str = "white",
) -> Request:
    """The checked wish; see `plan` for the arguments."""
    sde = SDES.get(sde)
    named = None if is_auto(solver) else _fitted(solver, sde)
    if noise not in ("white", "brownian"):
        raise OptionError(f"noise is 'white' or 'brownian', got {noise!r}")
    if final not in (None, "denoise", "t_min"):
        raise OptionError(f"final is 'denoise' or 't_min', got {final!r}")
    ways = {"steps": steps, "calls": calls, "times": times, "sigmas": sigmas}
    given = [name for name, value in ways.items() if value is not None]
    if len(given) != 1:
        raise OptionError(f"give one of steps, calls, times and sigmas, got {', '.join(given) or 'none of them'}")
    if steps is None and calls is None:
        for name, value in (("grid", grid), ("t_min", t_min), ("t_max", t_max)):
            if value is not None:
                raise OptionError(f"{given[0]} are the whole grid: {name} = {value!r} cannot be given beside them")
        if sigmas is not None:
            times, clean = times_of(sde, sigmas)
            if clean and final == "t_min":
                raise OptionError(
                    "a last 0 of sigmas is the data, final = 't_min' ends above it; leave one of them out"
                )
        assert times is not None
        times = _check_times(sde, times)
        named = named or _fitted(way(sde, len(times) - 1).anywhere, sde)
        return _finish(sde, named, times, final)._replace(noise=noise)
    if named is None:
        known = way(sde, count("calls", calls) if steps is None else count("steps", steps))
        name, grid = (known.solver, known.grid) if grid is None else (known.anywhere, grid)
        named = _fitted(name, sde)
    high = None if t_max is None else sde.check_time(_number("t_max", t_max))
    low = None if t_min is None else sde.check_time(_number("t_min", t_min))
    if grid is None:
        chosen = default_grid(sde, sde.t_max if high is None else high, sde.t_min if low is None else low)
    else:
        chosen = GRIDS.get(grid)

    # an optimal grid is computed for a number of steps: as long as that is looked for, any grid of these ends will do
    plain = Uniform() if isinstance(chosen, Optimal) else chosen

    def of(count: int) -> Request:
        return _finish(sde, named, _check_times(sde, plain.times(sde, count, high, low)), final)._replace(noise=noise)

    def placed(wish: Request, count: int) -> Request:
        return _optimal(chosen, wish, count, final) if isinstance(chosen, Optimal) else wish

    if steps is not None:
        steps = count("steps", steps)
        return placed(of(steps), steps)
    if named.adaptive:
        raise OptionError(
            f"{named!r} calls the network as often as its tolerances ask for: calls = {calls!r} cannot be promised; "
            f"give steps or times"
        )
    wish, steps = _within(of, denoiser, count("calls", calls))
    return placed(wish, steps)


def _fitted(solver: Solver | str, sde: LinearSDE) -> Solver:
    """The solver. Raises IncompatibleError where it cannot run on this process."""
    solver = SOLVERS.get(solver)
    check_fit(solver, sde)
    return solver


def _finish(sde: LinearSDE, solver: Solver, times: tuple[float, ...], final: str | None) -> Request:
    levels = tuple(map(sde.level, times))
    for i, (a, b) in enumerate(pairwise(levels)):
        if a.scalar and a.half_log_snr == b.half_log_snr:
            raise OptionError(f"times[{i}] = {a.t!r} and times[{i + 1}] = {b.t!r} are one level of {sde!r}: too close")
    if times[0] < times[-1]:  # from data to noise
        if not solver.deterministic:
            raise IncompatibleError(
                f"increasing times encode, which needs a deterministic solver, got {solver!r}; "
                f"deterministic ones: {', '.join(_deterministic(sde))}"
            )
        if final == "denoise":
            raise OptionError("final = 'denoise' ends at the data, increasing times end at noise; leave it out")
        if levels[0].scalar and levels[0].sigma == 0.0:
            raise IncompatibleError(f"encoding starts where sigma > 0, got t = {times[0]:g}; start a little above it")
        return Request(sde, solver, levels, None)
    end = Level(0.0, 1.0, 0.0) if isinstance(sde, ScalarSDE) else sde.level(0.0)
    clean = levels[-1].sigma == 0.0 if isinstance(sde, ScalarSDE) else times[-1] == 0.0
    if final == "t_min" or clean:
        return Request(sde, solver, levels, None)
    return Request(sde, solver, (*levels, end), denoiser_for(sde))


def _optimal(grid: Optimal, wish: Request, steps: int, final: str | None) -> Request:
    """The wish with the optimal times between its ends. What the network predicts changes nothing but rounding."""
    from torchdiff.tune.search import optimal  # arrays: loaded when they are asked for

    sde, solver, high, low = wish.sde, wish.solver, wish.grid[0].t, wish.grid[steps].t
    denoiser = Denoiser(None, likely(sde, high))

    def make(times: tuple[float, ...]) -> Plan:
        return _finish(sde, solver, times, final).trace(denoiser, watch=True)

    found = optimal(grid, sde, solver, steps, high, low, wish.final is not None, make)
    return _finish(sde, solver, found.times, final)._replace(noise=wish.noise)


def _deterministic(sde: LinearSDE) -> list[str]:
    return [name for name in fitting(sde) if SOLVERS.get(name).deterministic]


def _within(of: Any, denoiser: Denoiser, calls: int) -> tuple[Request, int]:
    """The wish with the most steps that cost at most `calls` network calls, and how many these are."""

    def cost(count: int) -> int:
        cost = of(count).trace(denoiser).calls
        assert cost is not None
        return cost

    if (one := cost(1)) > calls:
        raise OptionError(f"one step costs {one} network calls, more than calls = {calls}; give at least {one}")
    fits, beyond = 1, calls + 1  # each step costs a call at least
    while beyond - fits > 1:
        middle = (fits + beyond) // 2
        fits, beyond = (middle, beyond) if cost(middle) <= calls else (fits, middle)
    return of(fits), fits


def _number(name: str, value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError):
        raise OptionError(f"{name} must be a number, got {value!r}") from None


def _check_times(sde: LinearSDE, times: Iterable[float]) -> tuple[float, ...]:
    try:
        values = tuple(float(t) for t in times)
    except (TypeError, ValueError):
        raise OptionError(f"times are a sequence of numbers, got {times!r}") from None
    if len(values) < 2:
        raise OptionError(f"a grid has at least 2 times, got {len(values)}")
    for t in values:
        sde.check_time(t)
    sign = math.copysign(1.0, values[1] - values[0])
    for i, (a, b) in enumerate(pairwise(values)):
        if (b - a) * sign <= 0.0:
            raise OptionError(f"times must rise or fall all the way, but times[{i}] = {a!r} and times[{i + 1}] = {b!r}")
    return values


def likely(sde: LinearSDE, t: float) -> str:
    if not isinstance(sde, ScalarSDE):
        return "score"
    return "flow" if sde.level(t).alpha == 0.0 else "eps"
