"""Order of convergence, by the exact push-forward of Gaussian data: nothing is sampled."""

from __future__ import annotations

import functools
import math

import pytest
import solver_table
from instances import HOMES, MOVERS, SOLVER_SPECS, fits

import torchdiff
from torchdiff import gaussian, get_sde, get_solver
from torchdiff.testing.order import cases, default_sdes
from torchdiff.testing.report import OK, SKIPPED
from torchdiff.testing.solvers import NEAR, weak_order

SDES = default_sdes()
CONSISTENT = [(solver, sde) for solver, sde in MOVERS if get_solver(solver).weak_order is not None and sde in SDES]


@functools.cache  # two laws read the same slopes, whichever of them runs first or alone
def measured(solver, sde):
    """(the findings of the law, the slopes by case)."""
    thing, slopes = get_solver(solver), {}
    findings = list(weak_order(thing, cases(thing, [sde]), slopes))
    return findings, slopes


@pytest.mark.parametrize(("solver", "sde"), CONSISTENT)
def test_weak_order_on_gaussian_data(solver, sde):
    """The Richardson slopes of the covariance error and of the map reach the declared order on a uniform-t grid."""
    findings, _ = measured(solver, sde)
    assert findings
    for finding in findings:
        assert finding[3] == (OK if get_solver(solver).calls is not None else SKIPPED), finding


ABROAD = [
    (solver, sde)
    for sde in ("ve", "sub_vp", "ddpm")
    for solver in SOLVER_SPECS
    if (solver, sde) not in CONSISTENT and get_solver(solver).weak_order is not None and get_solver(solver).calls
    and fits(solver, sde)
]  # fmt: skip


# from the far end the third-order error of its map outweighs the second-order one, of the other sign, until 2048 steps:
# the slopes from 2048 on are 2.97, 1.53, 1.82, where 4096 steps are the most that are looked at
LATE = {("dpmpp_3m", "ve")}


@pytest.mark.slow
@pytest.mark.parametrize(("solver", "sde"), ABROAD)
def test_weak_order_on_other_processes(solver, sde):
    """The same where instances.py does not send a solver, because its formula goes through log-SNR and ratio alone."""
    findings = measured(solver, sde)[0][(solver, sde) in LATE :]
    assert findings
    assert {finding[3] for finding in findings} == {OK}, findings


@pytest.mark.parametrize("solver", sorted({solver for solver, _ in CONSISTENT}))
def test_no_order_is_declared_too_low(solver):
    """In at least one case the measured order is not more than 0.1 above the declared one."""
    order = get_solver(solver).weak_order
    slopes = (case.least for name, sde in CONSISTENT if name == solver for case in measured(name, sde)[1].values())
    assert any(slope - order < NEAR for slope in slopes)  # the first such case ends the search


TABLE = solver_table.read()


def test_the_table_of_solvers_has_all_of_them():
    """The data file has a row for each solver with an order of its own and its options here; docs/solvers.md is it."""
    assert [*TABLE] == solver_table.specs()
    assert solver_table.FILE.read_text() == solver_table.table(TABLE)


@pytest.mark.parametrize("solver", solver_table.specs())
def test_the_table_of_solvers_is_what_was_measured(solver):
    """Claims as they are; slopes within 0.011: two digits, and what another libm may do to the second.

    The slopes on the mixture and on one path are held to the table by tests/test_mixture_order.py and by this one.
    """
    row = TABLE[solver]
    assert {name: row[name] for name in solver_table.CLAIMS} == solver_table.claims(solver)
    for sde in HOMES:
        if (solver, sde) in CONSISTENT:
            slopes = [case.least for case in measured(solver, sde)[1].values()]
            assert same(row[sde], solver_table.number(slopes)), sde
        else:
            assert row[sde] is None
    assert same(row["path"], solver_table.measured(solver, "path"))


def same(told, found):
    return told == found or (math.isnan(found) if told == "exact" else abs(told - found) < 0.011)


# the time of each level: sigma = 0.92, 1.66 and 0.5, where 620 corrections forget a wrong start by e^-40 at least
@pytest.mark.parametrize(("sde", "t"), [("vp", 0.4), ("ve", 0.6), ("flow", 0.5)])
@pytest.mark.parametrize("variance", [0.3, 1.0, 4.0])
def test_corrector_has_its_stationary_variance(variance, sde, t):
    """ALD repeated at one level ends at v / (1 - e / 2v): the closed form of x <- x + e score + sqrt(2 e) z."""
    snr, sde = 0.3, get_sde(sde)
    solver = f"predictor_corrector:predictor=ddim,corrector=(ald:snr={snr},repeat=20)"
    # thirty-one intervals so short that the level stands still: 31e-10 in t moves sigma by 3e-8 of itself at most
    times = [t - 1e-10 * i for i in range(32)]
    plan = torchdiff.plan(sde, solver, times=times, prediction="eps", final="t_min")
    law = gaussian.marginal(sde, plan.grid[0], variance)
    v, e = float(law.cov[0, 0, 0]), 2.0 * (snr * plan.grid[0].sigma) ** 2
    out = gaussian.push(plan, variance).apply(gaussian.Gaussian(law.mean, 3.0 * law.cov))  # forgets a wrong start
    assert abs(float(out.cov[0, 0, 0]) / (v / (1.0 - e / (2.0 * v))) - 1.0) < 1e-6
