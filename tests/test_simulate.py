"""Laws of simulation: strong orders on shared paths, moments with known values, exact transitions."""

from __future__ import annotations

import math
import statistics

import pytest
import torch

import torchdiff
from torchdiff import SDE, noise, reverse, simulate
from torchdiff.counters import FORWARD_PATH
from torchdiff.errors import OptionError

MU, SIGMA = 0.5, 0.8
PATHS, SEEDS = 20_000, (0, 1, 2)
COUNTS = (16, 32, 64, 128)
# BIAS: terms beyond the leading one between 16 and 128 steps leave 0.03; a wrong Milstein term leaves 1/2
BIAS, HALF_WIDTH = 0.05, 0.02


def bachelier(shape, seed, end=1.0):
    """W(end) of the path that `simulate` takes on [0, end]."""
    return noise.brownian(shape, [0.0, end], seed=seed, horizon=end, path=FORWARD_PATH, dtype=torch.float64)[0]


class Rotating(SDE):
    """dX = A X dt + sum_j B_j X dW_j in the plane, A and B_j of the form a I + b R: they commute, and X is known."""

    kind = "matrix"
    A, B = (0.3, 0.5), ((0.4, 0.3), (0.1, -0.5))

    @staticmethod
    def act(a, b, x):
        return a * x + b * torch.stack([-x[:, 1], x[:, 0]], dim=1)

    def drift(self, x, t):
        return self.act(*self.A, x)

    def diffusion(self, x, t):
        return torch.stack([self.act(*b, x) for b in self.B], dim=2)

    def solution(self, x, w):
        """exp((A - sum_j B_j^2 / 2) + sum_j B_j W_j) x at t = 1: with a + i b for a I + b R a complex exponential."""
        power = complex(*self.A) - 0.5 * sum(complex(*b) ** 2 for b in self.B)
        factor = torch.exp(power + sum(complex(*b) * w[:, j] for j, b in enumerate(self.B)))
        return torch.view_as_real(factor * torch.view_as_complex(x.contiguous()))


def geometric(kind="diagonal", **more):
    """dX = mu X dt + sigma X dW."""
    g = {"matrix": lambda x, t: (SIGMA * x).unsqueeze(2)}.get(kind, lambda x, t: SIGMA * x)
    return SDE.of(lambda x, t: MU * x, g, kind, **more)


def interval(values):
    """Mean and the half-width of its 4-sigma interval: over the laws below one in a thousand would miss by chance."""
    return float(values.mean()), 4.0 * float(values.std()) / math.sqrt(len(values))


def slopes(errors):
    """The slope of log2 rms error against log2 steps, and its standard error over ten groups of paths."""
    x = [math.log2(n) for n in errors]
    centre = statistics.fmean(x)

    def slope(group):
        y = [math.log2(float(e.reshape(10, -1)[group].mean().sqrt())) for e in errors.values()]
        return -sum((a - centre) * b for a, b in zip(x, y, strict=True)) / sum((a - centre) ** 2 for a in x)

    each = [slope(slice(g, g + 1)) for g in range(10)]
    return slope(slice(None)), statistics.stdev(each) / math.sqrt(10)


@pytest.mark.parametrize(
    ("name", "method", "order"),
    [
        ("geometric", "euler_maruyama", 0.5),
        ("geometric", "milstein", 1.0),
        ("rotating", "euler_maruyama", 0.5),
        ("rotating", "milstein", 1.0),
    ],
)
def test_strong_order_on_multiplicative_noise(name, method, order):
    """The rms distance to the known solution on the same path falls with the order, 20,000 paths, each of 3 seeds."""
    found = []
    for seed in SEEDS:
        if name == "rotating":
            sde, x0 = Rotating(), torch.ones(PATHS, 2, dtype=torch.float64)
            exact = sde.solution(x0, bachelier((PATHS, 2), seed))
        else:
            sde, x0 = geometric(), torch.ones(PATHS, 1, dtype=torch.float64)
            exact = x0 * torch.exp(MU - 0.5 * SIGMA**2 + SIGMA * bachelier((PATHS, 1), seed))
        errors = {}
        for n in COUNTS:
            end = simulate(sde, x0, [0.0, 1.0], seed=seed, steps=n, method=method).x[-1]
            errors[n] = (end - exact).square().sum(1)
        found.append(slopes(errors))
    mean = statistics.fmean(slope for slope, _ in found)
    width = 1.96 * math.sqrt(sum(se**2 for _, se in found)) / len(found)
    assert width <= HALF_WIDTH
    assert abs(mean - order) <= BIAS


def test_strong_order_on_additive_noise():
    """Where g does not depend on x Euler-Maruyama has order 1: the rms distance of n and 2 n steps halves each time."""
    sde = SDE.of(lambda x, t: -torch.sin(3.0 * x), lambda x, t: 0.5 + t)
    found = []
    for seed in SEEDS:
        x0 = torch.zeros(PATHS, 1, dtype=torch.float64)
        ends = [simulate(sde, x0, [0.0, 1.0], seed=seed, steps=n).x[-1] for n in (*COUNTS, 256)]
        steps = zip(COUNTS, ends[:-1], ends[1:], strict=True)
        found.append(slopes({n: (a - b).square().sum(1) for n, a, b in steps}))
    assert 1.96 * math.sqrt(sum(se**2 for _, se in found)) / len(found) <= HALF_WIDTH
    assert abs(statistics.fmean(slope for slope, _ in found) - 1.0) <= BIAS, found


@pytest.mark.parametrize("kind", ["scalar", "matrix"])
def test_milstein_has_the_iterated_integral(kind):
    """X = W, dY = X dW driven by one process: Milstein's Y is (W^2 - t) / 2 at every step, Ito's formula without error.

    Y's derivative is by another coordinate: a method that took g for a function of its own coordinate leaves Y = 0 + ..
    """

    def g(x, t):
        columns = torch.stack([torch.ones_like(x[:, 0]), x[:, 0]], dim=1)
        return columns if kind == "scalar" else columns.unsqueeze(2)

    sde, x0 = SDE.of(lambda x, t: 0.0, g, kind), torch.zeros(64, 2, dtype=torch.float64)
    out = simulate(sde, x0, [0.0, 0.3, 1.0], seed=5, steps=50, method="milstein")
    for t, x in zip(out.times, out.x, strict=True):
        # 1e-6: times are rounded to 2^-24 of the clock, so that sum |dt| and t differ by that
        torch.testing.assert_close(x[:, 1], 0.5 * (x[:, 0] ** 2 - t), rtol=0.0, atol=1e-6)


def test_itos_isometry():
    """E (int W dW)^2 = E int W^2 dt: T^2 / 2, and (1 - 1/n) of it for the sum of n terms; the mean is zero."""
    n, sde = 16, SDE.of(lambda x, t: 0.0, lambda x, t: torch.stack([torch.ones_like(x[:, 0]), x[:, 0]], 1), "scalar")
    y = simulate(sde, torch.zeros(100_000, 2, dtype=torch.float64), [0.0, 2.0], seed=1, steps=n).x[-1, :, 1]
    mean, width = interval(y)
    assert abs(mean) <= width
    mean, width = interval(y**2)
    assert width < 0.1  # without its correction 1/n the expectation would be 0.125 off
    assert abs(mean - 2.0 * (1.0 - 1.0 / n)) <= width


def test_a_call_option_costs_what_black_and_scholes_say():
    """exp(-r T) E[(S_T - K)+] is the closed form within its confidence interval, by Milstein with 32 steps."""
    start, strike, rate, vol, end = 100.0, 110.0, 0.05, 0.25, 1.5
    sde = SDE.of(lambda s, t: rate * s, lambda s, t: vol * s, g_prime=lambda s, t: torch.full_like(s, vol))
    s = simulate(
        sde, torch.full((200_000, 1), start, dtype=torch.float64), [0.0, end], seed=4, steps=32, method="milstein"
    )
    mean, width = interval(math.exp(-rate * end) * (s.x[-1, :, 0] - strike).clamp(min=0.0))
    normal = statistics.NormalDist()
    up = (math.log(start / strike) + (rate + 0.5 * vol**2) * end) / (vol * math.sqrt(end))
    price = start * normal.cdf(up) - strike * math.exp(-rate * end) * normal.cdf(up - vol * math.sqrt(end))
    assert width < 0.025 * price  # a drift of 0.04 instead of 0.05 moves the price by 7 %
    assert abs(mean - price) <= width


def test_the_backward_equation():
    """u(X_t, t) = E[X_T^2 | X_t] keeps its mean u(x0, 0): dX = -a X dt + b sqrt(1 + X^2) dW, whose u is known.

    E X^2 = m has m' = (b^2 - 2 a) m + b^2, so u(x, t) = x^2 e^(k s) + b^2 (e^(k s) - 1) / k, k = b^2 - 2 a, s = T - t.
    """
    a, b, end = 0.7, 0.6, 1.0
    k = b**2 - 2.0 * a
    sde = SDE.of(lambda x, t: -a * x, lambda x, t: b * (1.0 + x**2).sqrt())
    n, x0 = 32, torch.full((100_000, 1), 1.5, dtype=torch.float64)
    out = simulate(sde, x0, [0.0, 0.5, end], seed=2, steps=n // 2, method="milstein")

    def u(x, t):
        growth = math.exp(k * (end - t))
        return x**2 * growth + b**2 * (growth - 1.0) / k

    start, h, second = float(u(x0[0, 0], 0.0)), end / n, [1.5**2]
    for _ in range(n):  # the scheme's own second moment, exactly: what it may differ from u by
        second.append(second[-1] * ((1.0 - a * h) ** 2 + b**2 * h + 0.5 * b**4 * h**2) + b**2 * h)
    for t, x, moment in zip(out.times[1:], out.x[1:], (second[n // 2], second[n]), strict=True):
        growth = math.exp(k * (end - t))
        bias = abs(moment * growth + b**2 * (growth - 1.0) / k - start)
        mean, width = interval(u(x[:, 0], t))
        assert bias < 0.01 * start
        assert width < 0.03 * start
        assert abs(mean - start) <= width + bias


@pytest.mark.parametrize("noise_kind", ["white", "brownian"])
@pytest.mark.parametrize("name", ["vp", "ve", "flow:t_max=0.98", "cld", "cld:mass=1,beta=0.5,slope=2,gamma=0.3"])
def test_exact_paths_have_the_covariance_of_the_marginal(name, noise_kind):
    """From a point, cov x_t = sigma sigma^T, and the mean is alpha x0; in three transitions, 40,000 paths.

    VE's level has a floor that its SDE from x0 does not make: sigma^2 - sigma_min^2.
    """
    sde = torchdiff.get_sde(name)
    times = [0.0, 0.1, 0.35, 0.9]
    x0 = torch.full((40_000, 1), 0.7, dtype=torch.float64)
    out = simulate(sde, x0, times, seed=9, noise=noise_kind)
    for i, t in enumerate(times[1:], 1):
        level = sde.level(t)
        state = torch.stack([block[i, :, 0] for block in out.state])
        alpha = torch.tensor([[level.alpha]] if level.scalar else level.alpha, dtype=torch.float64)
        sigma = torch.tensor([[level.sigma]] if level.scalar else level.sigma, dtype=torch.float64)
        cov = sigma @ sigma.T - (0.01**2 if name == "ve" else 0.0)
        # 4 standard errors: of a mean sqrt(C_ii / n), of a covariance sqrt((C_ii C_jj + C_ij^2) / n)
        std = cov.diagonal().sqrt()
        mean_error = 4.0 * std / math.sqrt(40_000)
        cov_error = 4.0 * ((std[:, None] * std) ** 2 + cov**2).sqrt() / math.sqrt(40_000)
        assert ((state.mean(1) - 0.7 * alpha[:, 0]).abs() <= mean_error).all()
        assert ((torch.cov(state).reshape(cov.shape) - cov).abs() <= cov_error).all()


@pytest.mark.parametrize("name", ["vp", "cld:mass=1,beta=1,t_max=3"])
def test_euler_maruyama_comes_to_the_exact_path(name):
    """On one Brownian path the two methods' distance goes down with the step, at order 1: additive noise."""
    x0 = torch.full((500, 1), 0.7, dtype=torch.float64)
    errors = []
    for n in (100, 400):
        runs = [simulate(name, x0, [0.0, 0.8], seed=3, method=how, steps=n) for how in ("exact", "euler_maruyama")]
        errors.append(
            [float((a[-1] - b[-1]).square().mean().sqrt()) for a, b in zip(*(r.state for r in runs), strict=True)]
        )
    for coarse, fine in zip(*errors, strict=True):
        assert 3.2 < coarse / fine < 5.0  # 4 for order 1, 2 for order 1/2; second-order terms leave a few tenths


def test_more_output_times_are_the_same_path():
    """Output times only look: with the same grid underneath, the states in common are equal bit for bit."""
    x0 = torch.ones(5, 3, dtype=torch.float64)
    few = simulate(geometric(), x0, [0.0, 1.0], seed=1, steps=16)
    many = simulate(geometric(), x0, [i / 16 for i in range(17)], seed=1, steps=1)
    assert torch.equal(few.x[-1], many.x[-1])
    later = simulate(geometric(), x0, [0.0, 0.5], seed=1, steps=8, clock=(0.0, 1.0))
    assert torch.equal(later.x[-1], many.x[8])
    assert not torch.equal(simulate(geometric(), x0, [0.0, 0.5], seed=1, steps=8).x[-1], many.x[8])  # another clock


BATCHES = [
    ("diagonal", geometric, "milstein"),
    ("scalar", lambda: geometric("scalar"), "milstein"),
    ("matrix", Rotating, "milstein"),
    ("srk", geometric, "torchsde:method=srk"),
    ("vp", lambda: "vp", None),
    ("cld", lambda: "cld", "euler_maruyama"),
    ("reversed", lambda: reverse(geometric(), lambda x, t: -x), "euler_maruyama"),
]


@pytest.mark.parametrize("noise_kind", ["white", "brownian"])
@pytest.mark.parametrize(("make", "method"), [case[1:] for case in BATCHES], ids=[case[0] for case in BATCHES])
def test_a_path_does_not_depend_on_its_batch(make, method, noise_kind):
    """Path 7 of 12 is what first_index=7, or its own seed, gives by itself, bit for bit."""
    sde = make()
    x0 = noise.normal((12, 2), seed=8, dtype=torch.float64).abs() + 0.5
    times = [0.9, 0.5, 0.2] if getattr(sde, "backward", False) else [0.0, 0.3, 0.9]
    options = {"method": method, "steps": 4, "noise": noise_kind}
    whole = simulate(sde, x0, times, seed=3, **options)
    alone = simulate(sde, x0[7:8], times, seed=3, first_index=7, **options)
    seeds = simulate(sde, x0[5:8], times, seed=[1, 2, 3], first_index=7, **options)
    for i, block in enumerate(whole.state):
        assert torch.equal(block[:, 7], alone.state[i][:, 0])
        assert torch.equal(block[:, 7], seeds.state[i][:, 2])


@pytest.mark.parametrize("noise_kind", ["white", "brownian"])
def test_a_run_back_has_other_noise_than_the_run_forward(noise_kind):
    """With one seed, the noise of a reversal is independent of the noise that made its start: no correlation."""
    motion = SDE.of(lambda x, t: 0.0, lambda x, t: 1.0)
    back = reverse(motion, lambda x, t: torch.zeros_like(x))
    x0 = torch.zeros(20_000, 1, dtype=torch.float64)
    up = simulate(motion, x0, [0.0, 1.0], seed=1, steps=2, noise=noise_kind).x[-1, :, 0]
    down = simulate(back, x0, [1.0, 0.0], seed=1, steps=2, noise=noise_kind).x[-1, :, 0]
    assert abs(float((up * down).mean())) < 5.0 / math.sqrt(20_000)


def test_a_clock_is_not_for_white_noise():
    """It says where a Brownian path lives; beside white noise it would be ignored, whatever it is."""
    with pytest.raises(OptionError, match="white noise has no path.*leave it out"):
        simulate(geometric(), torch.ones(2, 1), [0.0, 1.0], steps=2, noise="white", clock=(0.0, 2.0))
