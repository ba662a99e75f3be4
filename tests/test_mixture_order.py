"""Order of convergence on data that is not Gaussian, against SciPy's DOP853."""

from __future__ import annotations

import numpy as np
import pytest
import solver_table
import torch
from instances import SOLVER_SPECS
from scipy.special import logsumexp

from torchdiff import get_sde, get_solver
from torchdiff.testing import mixture, order
from torchdiff.testing.report import OK

TABLE = solver_table.read()
FLOWS = [
    (spec, solver)
    for spec, solver in ((spec, get_solver(spec)) for spec in SOLVER_SPECS)
    if solver.deterministic and solver.weak_order is not None and solver.calls is not None
]


def check(solver, sdes):
    findings = list(mixture.mixture_order(solver, order.from_middle(solver, sdes)))
    assert findings
    assert {finding[3] for finding in findings} == {OK}, findings
    return findings


@pytest.mark.parametrize(("spec", "solver"), FLOWS)
def test_order_on_a_mixture(spec, solver):
    """Richardson's slope from the middle of VP (or the flow) reaches the declared order, and the limit is DOP853's.

    It is the one that the table of solvers tells, within 0.011: two digits, and what another libm may do.
    """
    ((_, measured, *_),) = check(solver, [sde for sde in ("vp", "flow") if order.fits(solver, get_sde(sde))][:1])
    if spec in TABLE:
        told, found = TABLE[spec]["mixture"], measured.partition(",")[0]
        assert told == found or abs(told - float(found)) < 0.011


@pytest.mark.slow
@pytest.mark.parametrize("sde", ["flow", "ve", "sub_vp", "ddpm", "edm", "cosine"])
@pytest.mark.parametrize(("spec", "solver"), FLOWS)
def test_order_on_a_mixture_of_other_processes(spec, solver, sde):
    """The same on the rest of the one-block processes."""
    if not order.fits(solver, get_sde(sde)):
        pytest.skip("a process of another kind")
    check(solver, [sde])


def test_the_mixture_is_its_density():
    """E[eps | x] = -sigma grad log p and E[x0 | x] = (x - sigma E[eps | x]) / alpha, from SciPy's log p."""
    level, net = get_sde("vp").level(0.3), mixture.Mixture()
    x = net.start(level)

    def log_density(x):
        spread = level.alpha**2 * np.array(mixture.VARIANCES) + level.sigma**2
        away = ((x[:, None] - level.alpha * np.array(mixture.MEANS)) ** 2).sum(-1)
        return logsumexp(-0.5 * away / spread, b=np.array(mixture.WEIGHTS) / spread, axis=1)

    x0, eps = net(x, level)
    for axis in (0, 1):
        step = 1e-5 * np.eye(2)[axis]
        slope = (log_density(x.numpy() + step) - log_density(x.numpy() - step)) / 2e-5
        # 1e-10 of truncation, 1e-16 / 1e-5 of rounding
        np.testing.assert_allclose(eps[:, axis], -level.sigma * slope, rtol=0, atol=1e-9)
    torch.testing.assert_close(level.alpha * x0 + level.sigma * eps, x, rtol=0, atol=1e-14)


def test_the_limit_of_runs_is_extrapolated():
    """Of errors a / N + b / N^2 + c / N^3 four runs know all, of a / N^2 + b / N^3 + c / N^4 too."""
    counts = (4.0, 8.0, 16.0, 32.0)
    for lowest in (1, 2):
        ends = [torch.tensor([2.0 + sum((k + 1.0) / n ** (lowest + k) for k in range(3))]) for n in counts]
        assert float(mixture.limit(ends, lowest)) == pytest.approx(2.0, abs=1e-6)  # float32
