"""check_solver: the laws of a solver on an object, as a report."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np

from torchdiff.registry import SDES, SOLVERS
from torchdiff.sde.base import LinearSDE
from torchdiff.solvers.base import Solver
from torchdiff.testing import mixture, order, solver_laws, strong
from torchdiff.testing.order import Case, Slopes
from torchdiff.testing.report import Found, Laws, Report, See, caught, examine, held, skipped, unseen
from torchdiff.testing.sdes import values
from torchdiff.testing.solver_laws import Bench

NEAR = 0.1  # how near to its order a solver must come in at least one case
BLURRED = "its step is not linear in x and its noise, so its order needs sampling"
# where both ends of a law are singular: (process, t_max, t_min)
ENDS = (("flow", 1.0, 0.0), ("vp", 1.0, 0.0))


def check_solver(
    solver: Solver | str,
    sdes: Sequence[LinearSDE | str] | None = None,
    *,
    finest: int = order.FINEST,
    see: See = unseen,
) -> Report:
    """Measure the laws that every built-in solver passes on this one.

    solver: an object, its class, or a registered name with options. A corrector is run before "ddim".
    sdes:   processes to run it on: vp, sub_vp, ve, flow and cld by default, those that it accepts.
    finest: steps of the finest grid on which the order is measured, and of the longest plan that is looked at; fewer
            are quicker, and blur the order.
    Returns a Report: `assert report`, str(report) for the table. About 10 s for an AffineSolver on one-block processes.
    Raises UnknownNameError, OptionError or PluginError for what names no solver or process.
    """
    solver = SOLVERS.get(solver)
    chosen = [SDES.get(sde) for sde in (order.default_sdes() if sdes is None else sdes)]
    return Report("solver", SOLVERS.label(solver), tuple(examine(_laws(solver, chosen, finest), see)))


def _laws(solver: Solver, sdes: Sequence[LinearSDE], finest: int) -> Laws:
    count, moving = len(solver.parts()), solver
    if not solver.parts()[-1].moves:
        moving = SOLVERS.get("predictor_corrector", predictor="ddim", corrector=solver)

    @functools.cache
    def fitting() -> tuple[LinearSDE, ...]:
        return tuple(sde for sde in sdes if order.fits(moving, sde))

    def each(law: Callable[[Bench], Iterable[Found]]) -> Callable[[], Iterable[Found]]:
        def run() -> Iterator[Found]:
            for sde in fitting():
                bench = Bench(moving, count, sde, finest)
                yield from caught(lambda bench=bench: law(bench), bench.case)

        return run

    def once(law: Callable[[Bench], Iterable[Found]]) -> Callable[[], Iterable[Found]]:
        return lambda: [found for sde in fitting()[:1] for found in law(Bench(moving, count, sde))]

    def middle() -> list[Case]:
        return order.from_middle(moving, sdes)

    found: dict[str, Slopes] = {}  # two laws read the same slopes
    return (
        ("it accepts a process", lambda: _accepts(moving, sdes)),
        ("deterministic and draws are honest", each(solver_laws.deterministic)),
        ("calls are honest", each(solver_laws.calls)),
        ("memory is honest", each(solver_laws.memory)),
        ("a step writes into nothing it was given", each(solver_laws.inputs)),
        ("the global random state stays", once(solver_laws.random_state)),
        ("a step repeats itself", once(solver_laws.repeats)),
        ("shape and dtype are those of x", each(solver_laws.shape_and_dtype)),
        ("samples do not depend on their batch", each(solver_laws.batch)),
        ("the plan is the formula", each(solver_laws.traced)),
        ("weights are finite", each(solver_laws.finite)),
        ("it reaches alpha = 0 and sigma = 0", lambda: _ends(moving, sdes)),
        ("weak order", lambda: weak_order(moving, order.cases(moving, sdes), found, finest)),
        ("no order is declared too low", lambda: _too_low(moving, found)),
        ("order on a mixture", lambda: mixture.mixture_order(moving, middle(), finest)),
        ("strong order", lambda: strong.strong_order(moving, middle(), max(8, min(strong.FINEST, finest // 2)))),
        *values(SOLVERS, solver),
    )


def _accepts(solver: Solver, sdes: Sequence[LinearSDE]) -> Iterator[Found]:
    fit = [SDES.label(sde) for sde in sdes if order.fits(solver, sde)]
    note = "it cannot be measured on these; give it a process that it accepts: sdes=[...]"
    yield held("", ", ".join(fit) or "none", "one at least", bool(fit), note)


def weak_order(
    solver: Solver, cases: Sequence[Case], found: dict[str, Slopes], finest: int = order.FINEST
) -> Iterator[Found]:
    """The Richardson slopes of the covariance error and of the map reach the declared order on a uniform-t grid."""
    if (why := _no_order(solver)) is not None:
        yield skipped(why)
        return
    if not cases:
        yield skipped("it runs on none of the processes given")
    declared = solver.weak_order
    assert declared is not None
    least = declared - order.short_by(declared)
    for case in cases:
        slopes = order.slopes(solver, case, finest)
        if slopes is None:
            yield skipped(BLURRED, str(case))
            return
        found[str(case)] = slopes
        exact = np.isnan([slopes.covariance, slopes.map])
        texts = ["exact" if nan else f"{s:.3f}" for nan, s in zip(exact, slopes, strict=False)]
        good = not slopes.covariance < least and not slopes.map < least  # nor is nan
        falls = slopes.errors[1] < slopes.errors[0] or exact[0]
        measured = f"covariance {texts[0]}, map {texts[1]}"
        errors = "error {:.2g} falls to {:.2g}".format(*slopes.errors)
        yield held(str(case), measured, f"weak_order = {declared:g}", bool(good and falls), errors)


def _no_order(solver: Solver) -> str | None:
    if solver.weak_order is None:
        return "it declares none (weak_order = None)"
    if solver.calls is None:
        return "it chooses its steps itself (calls = None): its error is not a matter of the grid"
    return None


def _too_low(solver: Solver, found: dict[str, Slopes]) -> Iterator[Found]:
    """In at least one case the measured order is not more than 0.1 above the declared one."""
    if (why := _no_order(solver)) is not None or not found:
        yield skipped(why or "no order was measured")
        return
    declared = solver.weak_order
    assert declared is not None
    # an exact case, nan, shows no order
    case, slopes = min(found.items(), key=lambda item: np.nan_to_num(item[1].least, nan=np.inf))
    good = slopes.least - declared < NEAR
    yield held(case, slopes.least, f"weak_order = {declared:g}", good, f"every case is {NEAR} above it or more")


def _ends(solver: Solver, sdes: Sequence[LinearSDE]) -> Iterator[Found]:
    """From alpha = 0 to sigma = 0 everything is finite, and four times the steps come nearer to the data."""
    names = [SDES.label(sde) for sde in sdes]
    if not any(spec in names and order.fits(solver, SDES.get(spec)) for spec, _, _ in ENDS):
        yield skipped("flow and vp, which have such ends, are not among the processes that it was run on")
    for spec, high, low in ENDS:
        sde = SDES.get(spec)
        if spec not in names or not order.fits(solver, sde):
            continue
        if solver.calls is None:
            yield skipped("it chooses its steps itself", spec)
            continue
        runs = [order.errors(solver, Case(sde, high, low), steps) for steps in (32, 128)]
        if runs[0] is None or runs[1] is None:
            yield skipped(BLURRED, spec)
            continue
        coarse, fine = runs[0][0], runs[1][0]
        good = np.isfinite([coarse, fine]).all() and (solver.weak_order is None or fine < 0.75 * coarse or fine < 1e-12)
        measured = f"error {coarse:.2g}, with 4 times the steps {fine:.2g}"
        yield held(f"{spec} from t = {high:g} to {low:g}", measured, "falls", bool(good))
