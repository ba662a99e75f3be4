"""First-order exponential integrators: what their closed forms say, and which of them are one step."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar

import mpmath
import pytest
from test_identities import distance

import torchdiff
from torchdiff import gaussian, get_sde, get_solver
from torchdiff.errors import OptionError
from torchdiff.sde.base import ScalarSDE
from torchdiff.solvers import AffineSolver, Span
from torchdiff.solvers.exponential_euler import score_weight

SDES = ["vp", "ve", "sub_vp", "flow:t_min=0.01,t_max=0.99"]


def plans(solvers, sde, prediction="eps", grid=None, steps=20):
    return [
        torchdiff.plan(sde, solver, steps=steps, prediction=prediction, grid=grid, final="t_min") for solver in solvers
    ]


def agree(solvers, sde, **more):
    first, *others = plans(solvers, sde, **more)
    # 1e-12 of the largest weight: each comes from a handful of float64 operations
    largest = max(1.0, first.growth, *(abs(weight) for item in first.items for weight in item.weights[0]))
    return all(distance(first, other) < 1e-12 * largest for other in others)


def antiderivative(name, alpha):
    """int alpha d(sigma^2 / alpha^2) in closed form, by alpha as a function of r = sigma / alpha (or r^2 itself)."""
    if name == "sub_vp":  # sigma = 1 - alpha^2, so r^2 = 1 / alpha^2 - 2 + alpha^2
        return 2 / alpha + 2 * alpha**3 / 3
    if name == "flow":  # alpha = 1 / (1 + r)
        return 2 * (1 / alpha - 1 + mpmath.log(alpha))
    return 2 / alpha  # alpha = 1 / sqrt(1 + r^2)


@pytest.mark.parametrize("name", ["vp", "cosine", "ddpm", "sub_vp", "flow"])
# 2e-15: ten ulp. 1e-12: alpha is a float, and its last bit is 2e-13 of the difference of two near antiderivatives
@pytest.mark.parametrize(
    ("start", "end", "within"), [(0.98, 0.01, 2e-15), (0.98, 0.7, 2e-15), (0.3, 0.299, 1e-12), (0.02, 0.01, 1e-12)]
)
def test_score_weight_is_the_closed_form(name, start, end, within):
    """Quadrature in log-SNR gives alpha_nxt int alpha d(r^2) where it has an antiderivative."""
    sde = get_sde(name)
    span = Span(sde, (sde.level(start * sde.t_max), sde.level(end * sde.t_max)), 0)
    with mpmath.workdps(40):
        cur, nxt = (mpmath.mpf(level.alpha) for level in span.grid)
        exact = nxt * (antiderivative(name, cur) - antiderivative(name, nxt))
        assert abs(score_weight(span) / exact - 1) < within


def test_score_weight_on_ve_is_the_difference_of_variances():
    """alpha = 1: int d(sigma^2), over the whole range too."""
    sde = get_sde("ve")
    for times in [(1.0, 0.01), (0.5, 0.4999)]:
        cur, nxt = map(sde.level, times)
        exact = (cur.sigma - nxt.sigma) * (cur.sigma + nxt.sigma)
        # 1e-11: sigma's last bit against the difference of the second pair, 8e-4 of sigma
        assert abs(score_weight(Span(sde, (cur, nxt), 0)) / exact - 1.0) < 1e-11


@pytest.mark.parametrize("prediction", ["score", "eps", "x0"])
def test_with_the_score_held_fixed_ve_is_reverse_diffusion(prediction):
    """On VE exponential Euler-Maruyama, reverse diffusion and DDPM with the larger noise are one step."""
    assert agree(["exp_em", "reverse_diffusion", "ddpm:variance=fixed_large"], "ve", prediction=prediction)


@pytest.mark.parametrize("prediction", ["eps", "x0", "v"])
@pytest.mark.parametrize("sde", SDES)
@pytest.mark.parametrize(
    "solvers",
    [
        ("ddim", "dpmpp_1", "dpm_solver_1", "seeds_1:eta=0", "eta_family:eta=0"),
        ("ddpm", "dpmpp_1_sde", "eta_family", "euler_ancestral", "sa_solver:predictor=1,corrector=0"),
        ("eta_family:eta=0.7", "dpmpp_1_sde:eta=0.49", "sa_solver:predictor=1,corrector=0,tau=0.7"),
        ("eta_family:eta=1.5", "dpmpp_1_sde:eta=2.25"),
    ],
    ids="-".join,
)
def test_one_step_has_many_names(solvers, sde, prediction):
    """DDIM is first order with eta = 0, DDPM with eta = 1; other etas of the family are mapped by the docstring."""
    assert agree(solvers, sde, prediction=prediction)


@pytest.mark.parametrize("eta", [0.3, 0.8])
@pytest.mark.parametrize("sde", SDES)
def test_ddims_eta_is_the_mapped_one(sde, eta):
    """On a grid of one h: ddim and the ancestral samplers have sqrt((1 - e^{-2 eta^2 h}) / (1 - e^{-2h})) for eta."""
    (plan,) = plans(["ddim"], sde, grid="log_snr")
    h = plan.grid[1].half_log_snr - plan.grid[0].half_log_snr
    theirs = math.sqrt(math.expm1(-2.0 * eta**2 * h) / math.expm1(-2.0 * h))
    names = [f"eta_family:eta={eta}", f"ddim:eta={theirs!r}", f"euler_ancestral:eta={theirs!r}"]
    assert agree(names, sde, grid="log_snr")


@dataclass(frozen=True)
class Ito(AffineSolver):
    """azula's ItoSampler at temperature 1, from the formula of its documentation."""

    eta: float
    accepts: ClassVar = ScalarSDE

    def step(self, x, span, predict, noise):
        (_, a, s), (_, a_to, s_to) = span.cur, span.nxt
        x0 = predict(x, span.cur).x0
        mean = (a_to / a) * x + (1.0 + self.eta**2) * (s_to / s - a_to / a) * (x - a * x0)
        return mean + self.eta * a_to * math.sqrt((s / a) ** 2 - (s_to / a_to) ** 2) * noise(span.cur, span.nxt)


@pytest.mark.parametrize("eta", [0.5, 1.0])
@pytest.mark.parametrize("sde", SDES)
def test_seeds_1_is_azulas_ito_sampler(sde, eta):
    """eps held fixed, x - alpha x0 for sigma eps, and the noise of the forward drift: one step."""
    assert agree([f"seeds_1:eta={eta}", Ito(eta)], sde, prediction="x0")


@pytest.mark.parametrize("temperature", [0.0, 0.25, 2.0])
@pytest.mark.parametrize("eta", [0.6, 1.4])
def test_temperature_has_its_closed_form(eta, temperature):
    """On VE and N(0, v) the variance is T (v + s^2) + (1 - T) (v + S^2) ((v + s^2) / (v + S^2))^(1 + eta^2).

    It solves dV / ds^2 = (1 + eta^2) V / (v + s^2) - eta^2 T from V = v + S^2; the error falls with the steps.
    """
    v, solver = 0.5, f"eta_family:eta={eta},temperature={temperature}"
    errors = []
    for steps in (256, 512, 1024):
        plan = torchdiff.plan("ve", solver, steps=steps, prediction="eps", t_min=0.4, t_max=0.7, final="t_min")
        top, end = (v + level.sigma**2 for level in (plan.grid[0], plan.grid[-1]))
        law = gaussian.push(plan, v).apply(gaussian.marginal(get_sde("ve"), plan.grid[0], v))
        exact = temperature * end + (1.0 - temperature) * top * (end / top) ** (1.0 + eta**2)
        errors.append(abs(float(law.cov[0, 0, 0]) - exact))
    slopes = [math.log2(a / b) for a, b in pairwise(errors)]
    assert abs(2.0 * slopes[1] - slopes[0] - 1.0) < 0.02  # as for every first order


@pytest.mark.parametrize("spec", ["eta_family:eta=-1", "eta_family:temperature=-1", "seeds_1:eta=-0.5"])
def test_negative_amounts_are_refused(spec):
    """The option and its value are named."""
    with pytest.raises(OptionError, match="must not be negative"):
        get_solver(spec)


def test_only_temperature_one_claims_the_data():
    """Another temperature converges to another law, unless there is no noise to scale."""
    orders = [get_solver(f"eta_family:{options}").weak_order for options in ("temperature=2", "eta=0,temperature=2")]
    assert orders == [None, 1.0]
    assert get_solver("eta_family:temperature=0").deterministic
