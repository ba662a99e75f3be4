"""The integrals of exponential integrators against mpmath in 30 digits and more."""

from __future__ import annotations

import math
from dataclasses import dataclass

import mpmath
import pytest

import torchdiff
from torchdiff import get_sde
from torchdiff.sde.base import ScalarSDE
from torchdiff.solvers import Span
from torchdiff.solvers.adams import polynomial_step
from torchdiff.solvers.exponential import (
    between,
    data_step,
    decay,
    halved_step,
    moments,
    noise_step,
    phi,
    spread,
    weights,
)

ULP = 2.0**-52


@pytest.fixture(autouse=True)
def thirty_digits():
    with mpmath.workdps(30):
        yield


def exact_phi(k, y):
    """From e^y down: phi_k = (phi_{k - 1} - 1 / (k - 1)!) / y, with 400 digits for what that loses."""
    with mpmath.workdps(400):
        value = mpmath.exp(mpmath.mpf(y))
        for i in range(k):
            value = (value - 1 / mpmath.factorial(i)) / y
        return value


@pytest.mark.parametrize("k", range(6))
@pytest.mark.parametrize("sign", [-1.0, 1.0])
def test_phi_has_all_its_digits(k, sign):
    """From 1e-12 to 40 and on both sides of the change from the series to the recursion, at 2."""
    for size in (1e-12, 1e-7, 1e-3, 0.1, 0.7, 1.0, 1.5, 1.999999, 2.0, 2.000001, 2.3, 3.0, 5.0, 10.0, 40.0):
        y = sign * size
        # 8 ulp: the recursion loses k! / 2^k of one at each k, 3.75 at the fifth, and e^y has a bit of its own
        assert abs(phi(k, y) / exact_phi(k, y) - 1) < 8.0 * ULP
    assert phi(k, 0.0) == pytest.approx(1.0 / math.factorial(k), rel=ULP)


def integral(f, h):
    return mpmath.quad(f, mpmath.linspace(0, h, 3))


@pytest.mark.parametrize("z", [-6.0, -0.3, 1e-5, 0.3, 2.5, 17.0])
def test_moments_are_their_integrals(z):
    """int_0^1 z e^{-z (1 - v)} v^k dv, for as many k as a method has nodes."""
    for k, got in enumerate(moments(z, 4)):
        want = integral(lambda v, k=k: z * mpmath.exp(-z * (1 - v)) * v**k, 1)
        assert abs(got / want - 1) < 16.0 * ULP  # phi's, times k! and z


def polynomial(nodes, j, u):
    return mpmath.fprod((u - node) / (mpmath.mpf(nodes[j]) - node) for i, node in enumerate(nodes) if i != j)


# nodes of one step by its length: a predictor's, a single step's, a corrector's with its end
PLACES = [(0.0,), (0.0, -0.9), (0.0, 1.0 / 3.0), (0.0, -1.1, -2.3), (1.0, 0.0, -0.7), (0.0, -1.0, -1.9, -3.1)]


@pytest.mark.parametrize("rate", [-1.0, 1.0, 1.25, 5.0])
@pytest.mark.parametrize("h", [1e-6, 0.05, 1.0, 8.0])
@pytest.mark.parametrize("places", PLACES, ids=str)
def test_weights_integrate_the_lagrange_polynomials(places, h, rate):
    """int_0^h rate e^{-rate (h - u)} L_j(u) du."""
    nodes = [place * h for place in places]
    found = weights(nodes, h, rate)
    scale = max(abs(w) for w in found)
    for j, got in enumerate(found):
        want = integral(lambda u, j=j: rate * mpmath.exp(-rate * (h - u)) * polynomial(nodes, j, u), h)
        # 4e-15: the powers of a cubic's polynomial cancel to a twentieth
        assert abs(got - want) < 4e-15 * max(scale, 1e-300)


@pytest.mark.parametrize("name", ["vp", "ve", "flow"])
@pytest.mark.parametrize("tau2", [0.0, 0.36, 1.0])
def test_data_step_solves_the_reverse_sde_in_the_mean(name, tau2):
    """x0 = 1 - l + l^2 / 4: variation of constants, x' = (sigma' / sigma - tau^2 l') x + (1 + tau^2) alpha x0 l'."""
    sde = get_sde(name)
    levels = [sde.level(sde.t_max * part) for part in (0.7, 0.6, 0.5, 0.3)]
    *past, cur, nxt = levels
    logs = [mpmath.log(mpmath.mpf(level.alpha) / level.sigma) for level in levels]
    h, p = logs[-1] - logs[-2], 1 + mpmath.mpf(tau2)

    def x0(place):
        return 1 - place + place**2 / 4

    nodes = [(level, float(x0(log))) for level, log in zip([cur, *past[::-1]], logs[2::-1], strict=True)]
    got = data_step(0.4, cur, nxt, nodes, tau2)
    want = mpmath.mpf(nxt.sigma) / cur.sigma * mpmath.exp(-tau2 * h) * mpmath.mpf(0.4)
    want += nxt.alpha * integral(lambda u: p * mpmath.exp(-p * (h - u)) * x0(logs[-2] + u), h)
    assert abs(got - want) < 1e-13 * (1 + abs(want))  # the log-SNR's last bits, 1e-15 of values up to 20


@pytest.mark.parametrize("name", ["vp", "ve", "flow"])
def test_noise_step_solves_the_flow(name):
    """eps = 1 - l + l^2 / 4: (x / alpha)' = eps (sigma / alpha)'."""
    sde = get_sde(name)
    levels = [sde.level(sde.t_max * part) for part in (0.7, 0.6, 0.5, 0.3)]
    *past, cur, nxt = levels
    logs = [mpmath.log(mpmath.mpf(level.alpha) / level.sigma) for level in levels]

    def eps(place):
        return 1 - place + place**2 / 4

    nodes = [(level, float(eps(log))) for level, log in zip([cur, *past[::-1]], logs[2::-1], strict=True)]
    change = mpmath.quad(lambda place: -mpmath.exp(-place) * eps(place), mpmath.linspace(logs[-2], logs[-1], 5))
    want = nxt.alpha * (mpmath.mpf(0.4) / cur.alpha + change)
    assert abs(noise_step(0.4, cur, nxt, nodes) - want) < 1e-13 * (1 + abs(want))  # as above


def test_halved_step_is_the_published_code():
    """D1 = D1_0 + r0 (D1_0 - D1_1) / (r0 + r1), D2 = (D1_0 - D1_1) / (r0 + r1), phi_3 in front of D2: no factor 2."""
    sde = get_sde("vp")
    two, one, cur, nxt = (sde.level(t) for t in (0.7, 0.6, 0.5, 0.3))
    a, b, c, d = (mpmath.log(mpmath.mpf(level.alpha) / level.sigma) for level in (two, one, cur, nxt))
    m0, m1, m2 = 0.3, -0.5, 0.8
    h, r0, r1 = d - c, (c - b) / (d - c), (b - a) / (d - c)
    near, far = (m0 - m1) / r0, (m1 - m2) / r1
    d1, d2 = near + r0 / (r0 + r1) * (near - far), (near - far) / (r0 + r1)
    shrunk = mpmath.expm1(-h)
    want = mpmath.mpf(nxt.sigma) / cur.sigma * mpmath.mpf(0.4) - nxt.alpha * shrunk * m0
    want += nxt.alpha * (shrunk / h + 1) * d1 - nxt.alpha * ((shrunk + h) / h**2 - mpmath.mpf(1) / 2) * d2
    assert abs(halved_step(0.4, cur, nxt, [(cur, m0), (one, m1), (two, m2)]) - want) < 1e-14


@pytest.mark.parametrize("tau2", [0.3, 1.0])
def test_noise_composes(tau2):
    """Two steps have the noise of one: the first half's carried on, and the second's; at tau = 1 it is DDPM's."""
    sde = get_sde("vp")
    cur, middle, nxt = (sde.level(t) for t in (0.8, 0.5, 0.2))
    both = math.hypot(decay(middle, nxt, tau2) * spread(cur, middle, tau2), spread(middle, nxt, tau2))
    assert both == pytest.approx(spread(cur, nxt, tau2), rel=1e-14)  # a handful of operations
    assert decay(middle, nxt, tau2) * decay(cur, middle, tau2) == pytest.approx(decay(cur, nxt, tau2), rel=1e-14)
    mean, factor = sde.transition(nxt.t, cur.t)
    posterior = factor[0][0] * nxt.sigma / cur.sigma
    assert spread(cur, nxt, 1.0) == pytest.approx(posterior, rel=1e-14)
    assert decay(cur, nxt, 1.0) == pytest.approx(mean[0][0] * (nxt.sigma / cur.sigma) ** 2, rel=1e-14)


@dataclass(frozen=True)
class Searched(ScalarSDE):
    """The cosine process whose levels are found by bisection."""

    t_min: float = 1e-3
    t_max: float = 0.999

    def alpha(self, t):
        return math.cos(0.5 * math.pi * t)

    def sigma(self, t):
        return math.sin(0.5 * math.pi * t)

    def rates(self, t):
        return -0.5 * math.pi * self.sigma(t), 0.5 * math.pi * self.alpha(t)


def test_the_whole_way_ends_at_the_level_itself():
    """cur + 1 * (nxt - cur) may round to a log-SNR outside the process that ends at nxt, as from 42 / 401 here."""
    sde = Searched()
    span = Span(sde, (sde.level(42 / 401), sde.level(sde.t_max)), 0)
    assert between(span, 1.0) is span.nxt
    assert abs(between(span, 0.5).half_log_snr - 0.5 * (span.cur.half_log_snr + span.nxt.half_log_snr)) < 1e-14
    torchdiff.plan(sde, "dpmpp_2s:r=1", times=[42 / 401, sde.t_max], prediction="eps", final="t_min")


@pytest.mark.parametrize("basis", ["t", "rho"])
@pytest.mark.parametrize("times", [(0.9, 0.8, 0.7, 0.6, 0.1), (0.5, 0.49, 0.47, 0.44, 0.43)])
def test_deis_integrates_its_polynomial(times, basis):
    """alpha_nxt (x / alpha_cur + int eps dr), r = sigma / alpha, on vp; eps a cubic in t or in r through its values."""
    sde = get_sde("vp")
    *known, end = (sde.level(t) for t in times)
    span, values = Span(sde, (known[-1], end), 0), [0.3, -0.8, 0.5, 1.1]

    def area(t):  # int beta, beta from 0.1 to 20: r^2 = e^area - 1
        return mpmath.mpf("0.1") * t + mpmath.mpf("19.9") * t**2 / 2

    def ratio(t):
        return mpmath.sqrt(mpmath.expm1(area(t)))

    def speed(t):
        return (mpmath.mpf("0.1") + mpmath.mpf("19.9") * t) * mpmath.exp(area(t)) / (2 * ratio(t))

    place = ratio if basis == "rho" else mpmath.mpf
    nodes = [place(mpmath.mpf(level.t)) for level in known[::-1]]

    def eps(t):
        return mpmath.fsum(value * polynomial(nodes, j, place(t)) for j, value in enumerate(values))

    change = mpmath.quad(lambda t: eps(t) * speed(t), mpmath.linspace(span.cur.t, end.t, 9))
    want = end.alpha * (mpmath.mpf(0.4) / span.cur.alpha + change)
    got = polynomial_step(0.4, span, list(zip(known[::-1], values, strict=True)), basis)
    assert abs(got - want) < 1e-12 * (1 + abs(want))  # the cubic's weights reach 20, its differences lose a digit
