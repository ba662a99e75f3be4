"""RES: the order conditions of exponential Runge-Kutta methods, at every step size."""

from __future__ import annotations

import mpmath
import pytest
from test_identities import distance

import torchdiff
from torchdiff import get_solver
from torchdiff.errors import OptionError
from torchdiff.solvers.res import res_2, res_3
from torchdiff.testing.order import cases
from torchdiff.testing.report import OK
from torchdiff.testing.solvers import weak_order

STEPS = [1e-6, 1e-2, 0.3, 1.9, 2.1, 8.0]  # phi changes from its series to its recursion at 2
NODES = [(0.5, 1.0), (1.0 / 3.0, 2.0 / 3.0), (0.3, 0.8), (1.0, 0.5)]


def phi(k, y):
    """phi_k(y) = int_0^1 e^{(1 - v) y} v^{k - 1} / (k - 1)! dv."""
    return mpmath.quad(lambda v: mpmath.exp((1 - v) * y) * v ** (k - 1) / mpmath.factorial(k - 1), [0, 1])


# 1e-14: the weights are at most 10, each from a handful of float64 operations on phi's few ulp
@pytest.mark.parametrize("h", STEPS)
def test_second_order_conditions(h):
    """b_1 + b_2 = phi_1, b_2 c_2 = phi_2, and a_21 = c_2 phi_1 at c_2: for all h, not in the limit."""
    for c2 in (0.25, 0.5, 1.0):
        [[a21]], b = res_2(h, c2)
        for got, want in ((sum(b), phi(1, -h)), (b[1] * c2, phi(2, -h)), (a21, c2 * phi(1, -c2 * h))):
            assert abs(got - want) < 1e-14


@pytest.mark.parametrize("h", STEPS)
@pytest.mark.parametrize(("c2", "c3"), NODES)
def test_third_order_conditions(c2, c3, h):
    """sum b = phi_1, sum b c = phi_2, sum_i b_i psi_i = 0 with psi_i = c_i^2 phi_2(-c_i h) - sum_j a_ij c_j; rows."""
    [[a21], [a31, a32]], b = res_3(h, c2, c3)
    bent = b[1] * c2**2 * phi(2, -c2 * h) + b[2] * (c3**2 * phi(2, -c3 * h) - a32 * c2)
    for got, want in (
        (sum(b), phi(1, -h)),
        (b[1] * c2 + b[2] * c3, phi(2, -h)),
        (bent, 0.0),
        (a21, c2 * phi(1, -c2 * h)),
        (a31 + a32, c3 * phi(1, -c3 * h)),
    ):
        assert abs(got - want) < 1e-14


@pytest.mark.parametrize(("c2", "c3"), NODES)
def test_without_its_exponential_it_is_a_third_order_method(c2, c3):
    """At h = 0 it is a Runge-Kutta method of order 3: b = 1, b c = 1/2, b c^2 = 1/3, b A c = 1/6, summed."""
    [_, [_, a32]], b = res_3(0.0, c2, c3)
    values = (sum(b), b[1] * c2 + b[2] * c3, b[1] * c2**2 + b[2] * c3**2, b[2] * a32 * c2)
    assert values == pytest.approx((1.0, 1.0 / 2.0, 1.0 / 3.0, 1.0 / 6.0), abs=1e-14)  # as above


# 1e-12: as for the other identities, of the largest weight
@pytest.mark.parametrize("prediction", ["eps", "x0"])
@pytest.mark.parametrize("sde", ["vp", "ve", "flow:t_min=0.01,t_max=0.99"])
@pytest.mark.parametrize(
    ("res", "other"),
    [
        ("res_2", "dpmpp_2s:variant=taylor"),
        ("res_2:c2=1", "dpmpp_2s:r=1,variant=taylor"),
        (f"res_3:c2={1.0 / 3.0!r},c3={2.0 / 3.0!r}", "dpmpp_3s"),
    ],
)
def test_res_contains_dpm_solver_pp(res, other, sde, prediction):
    """Where DPM-Solver++ integrates its line exactly it meets the conditions, and is the method with its nodes."""
    plans = [torchdiff.plan(sde, solver, steps=12, prediction=prediction, final="t_min") for solver in (res, other)]
    assert distance(*plans) < 1e-12 * max(1.0, plans[0].growth)


@pytest.mark.parametrize("spec", ["res_2:c2=1", "res_3:c2=0.3,c3=0.8", "res_3:c2=0.9,c3=0.4"])
def test_every_node_has_the_order(spec):
    """The order law of the registered defaults, at other nodes."""
    solver = get_solver(spec)
    for _, _, _, verdict, *_ in weak_order(solver, cases(solver, ["vp", "flow"]), {}, 1024):
        assert verdict == OK


@pytest.mark.parametrize(
    "spec", ["res_2:c2=0", "res_2:c2=1.5", "res_3:c3=-1", f"res_3:c2={2.0 / 3.0!r}", "res_3:c2=0.5,c3=0.5"]
)
def test_nodes_without_weights_are_refused(spec):
    """A node outside (0, 1], c2 = 2/3 and c2 = c3: the option and its value are named."""
    with pytest.raises(OptionError, match=r"res_[23]: c[23] must"):
        get_solver(spec)
