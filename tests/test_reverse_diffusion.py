"""Reverse diffusion and ancestral sampling against their paper, in its discrete symbols."""

from __future__ import annotations

import math

import numpy as np
import pytest

import torchdiff
from torchdiff.sde import ScalarSDE

N = 10
BETAS = [None, *(0.1 / N + (i - 1) / (N - 1) * (20.0 - 0.1) / N for i in range(1, N + 1))]  # beta_1 ... beta_N = 2


class Table(ScalarSDE):
    """A table beta_1 ... beta_N at the times i / N, alpha_i^2 = (1 - beta_1) ... (1 - beta_i); N = 10, up to beta_5."""

    t_min, t_max = 1.0 / N, 0.5

    def bar(self, t: float) -> float:
        return math.prod(1.0 - BETAS[i] for i in range(1, round(N * t) + 1))

    def alpha(self, t):
        return math.sqrt(self.bar(t))

    def sigma(self, t):
        return math.sqrt(1.0 - self.bar(t))

    def rates(self, t):
        raise AssertionError("neither sampler reads a derivative")


def step(solver, sde, cur, nxt):
    """The weights on x and on the score, and that of the noise, of one step."""
    (item,) = torchdiff.plan(sde, solver, times=(cur, nxt), prediction="score", final="t_min").items
    assert item.reads == (0, 1)
    return [*item.weights[0], *item.noise[0]]


# 1e-13: what the logarithms of a general transition leave of beta_i >= 0.2, and of sigma_i^2 - sigma_{i-1}^2
@pytest.mark.parametrize("i", [2, 3, 5])
def test_steps_on_a_table_of_betas(i):
    """VP: x - f + G^2 s + G z, f = (sqrt(1 - beta) - 1) x, G = sqrt(beta); (x + beta s) / sqrt(1 - beta) + G z."""
    beta, cur, nxt = BETAS[i], i / N, (i - 1) / N
    f, g, kept = math.sqrt(1.0 - beta) - 1.0, math.sqrt(beta), math.sqrt(1.0 - beta)
    np.testing.assert_allclose(step("reverse_diffusion", Table(), cur, nxt), [1.0 - f, g**2, g], rtol=1e-13)
    np.testing.assert_allclose(step("ancestral", Table(), cur, nxt), [1.0 / kept, beta / kept, g], rtol=1e-13)


@pytest.mark.parametrize("i", [2, 6, 10])
def test_steps_on_a_table_of_sigmas(i):
    """VE: f = 0 and G^2 = sigma_i^2 - sigma_{i-1}^2; the ancestral noise is sqrt(sigma_{i-1}^2 G^2 / sigma_i^2)."""
    s = [None, *(0.01 * (50.0 / 0.01) ** ((j - 1) / (N - 1)) for j in range(1, N + 1))]
    rise, cur, nxt = s[i] ** 2 - s[i - 1] ** 2, (i - 1) / (N - 1), (i - 2) / (N - 1)
    np.testing.assert_allclose(step("reverse_diffusion", "ve", cur, nxt), [1.0, rise, math.sqrt(rise)], rtol=1e-13)
    noise = math.sqrt(s[i - 1] ** 2 * rise / s[i] ** 2)
    np.testing.assert_allclose(step("ancestral", "ve", cur, nxt), [1.0, rise, noise], rtol=1e-13)


def test_other_processes_by_their_transition():
    """Flow from 0.6 to 0.3: x_0.6 = m x_0.3 + c z with m = 0.4 / 0.7 and m^2 0.3^2 + c^2 = 0.6^2."""
    m = 0.4 / 0.7
    c = math.sqrt(0.6**2 - (m * 0.3) ** 2)
    np.testing.assert_allclose(step("reverse_diffusion", "flow", 0.6, 0.3), [2.0 - m, c**2, c], rtol=1e-14)
    np.testing.assert_allclose(step("ancestral", "flow", 0.6, 0.3), [1.0 / m, c**2 / m, c], rtol=1e-14)
