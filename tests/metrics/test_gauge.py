"""Floors cover, intervals cover, equal solvers are not ranked and unequal ones are; everything is deterministic."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

import torchdiff
from torchdiff.errors import IncompatibleError, NonFiniteError, OptionError, UnknownNameError
from torchdiff.metrics import Judge, Metric, compare, measure
from torchdiff.metrics.gauge import Gauge
from torchdiff.zoo import digits

TARGET = torchdiff.get_target("gmm2d")
SLICED = "sliced_w2:directions=16"
N = 60


def heavy(*specs):
    """These metrics in the slow run only."""
    return [pytest.param(spec, marks=pytest.mark.slow) for spec in specs]


def solved(calls, count, first_index=0):
    """DDIM's samples of the target, with the noise of seed 0."""
    net = TARGET.denoiser("vp")
    return torchdiff.sample(net, "vp", "ddim", calls=calls, shape=(count, 2), seed=0, first_index=first_index).x


@pytest.fixture(scope="module")
def poor():
    """24000 samples of a solver that is plainly wrong, for all to share."""
    return solved(3, 24000)


@pytest.fixture
def small(monkeypatch):
    """A reference of 500 rows, for what builds many gauges."""
    for name in torchdiff.list_metrics():
        monkeypatch.setattr(torchdiff.registry.METRICS.load(name), "rows", 500)


@pytest.mark.parametrize("spec", ["energy", SLICED, "ks", "modes", *heavy("mmd", "w2")])
def test_the_floor_holds_real_samples(spec, small):
    """Of real sets 95 % score within the floor: 15 gauges, 20 sets each, of 60 samples.

    With 39 draws the probability is 38 / 40 whatever the law. 300 trials, the coverage of each gauge itself scatters by
    0.034: standard deviation 0.016, and four of these.
    """
    inside = 0
    for k in range(15):
        gauge = Gauge(spec, TARGET, N, seed=k)
        low, high = gauge.floor[1:]
        for i in range(20):
            inside += low <= gauge.judge(TARGET.sample(N, seed=9, first_index=N * (20 * k + i))) <= high
    assert 0.95 - 0.064 <= inside / 300 <= 1.0
    assert gauge.floor[1] <= gauge.floor[0] <= gauge.floor[2]


@pytest.mark.parametrize("spec", ["energy", SLICED])
def test_the_floor_of_data_holds_real_samples(spec):
    """The same where the reference is a part of the data: 10 data sets of 400, 30 sets each from the same law."""
    inside = 0
    for k in range(10):
        gauge = Gauge(spec, TARGET.sample(400, seed=50 + k), N, seed=k)
        for i in range(30):
            x = TARGET.sample(N, seed=9, first_index=N * (30 * k + i))
            inside += gauge.floor[1] <= gauge.judge(x) <= gauge.floor[2]
    assert 0.95 - 0.08 <= inside / 300 <= 1.0  # 0.08: draws from one set overlap, so a floor scatters more


@pytest.mark.parametrize("spec", ["energy", "modes", *heavy("sliced_w2")])
def test_intervals_cover_the_mean(spec, poor):
    """Of 100 sets from a wrong solver 95 % have the mean over all of them within their interval; 87 % at least.

    0.08: 3.7 standard deviations of 100 trials.
    """
    gauge = Gauge(spec, TARGET, 100)
    sets = [gauge.measure(part) for part in poor[:10000].split(100)]
    mean = np.mean([found.value for found in sets])
    assert np.mean([found.low <= mean <= found.high for found in sets]) >= 0.87
    # as wide as the values scatter, within a factor of 1.5
    assert 2 / 3 <= np.mean([found.high - found.low for found in sets]) / (
        2 * 1.96 * np.std([found.value for found in sets])
    ) <= 1.5  # fmt: skip


@pytest.mark.parametrize("spec", ["energy", "modes", *heavy("mmd", "ks", SLICED)])
def test_equal_solvers_are_not_ranked(spec, poor):
    """A/A: two runs of one wrong solver with noise of their own are ranked in 5 % of 200 repeats at most.

    18: 99.6 % of a binomial law with 200 trials of 5 %. The swap test is exact, so its p is uniform: about half of them
    are below 1/2 (30 of 100: four standard deviations), which an idle test would not show.
    """
    gauge, ranked, below, above = Gauge(spec, TARGET, N), 0, 0, 0
    for a, b in zip(poor[:12000].split(N), poor[12000:].split(N), strict=True):
        found = gauge.compare(a, b)
        ranked, below = ranked + (found.better is not None), below + (found.p <= 0.5)
        above += max(found.a, found.b) > gauge.floor[2]
        excluded = found.low > 0.0 or found.high < 0.0
        assert found.better is None or excluded
        assert found.p <= 0.05 or not excluded
    assert ranked <= 18
    assert (70 if spec not in ("modes", "ks") else 30) <= below <= 130  # these take few values: p is larger
    assert above >= (150 if spec != "modes" else 0)  # they are not ties for being at the floor


@pytest.mark.parametrize("spec", ["energy", "modes", "ks", *heavy("w2")])
def test_rounding_is_no_rank(spec, poor):
    """The same noise and another rounding, always to one side: a tie, and none for reasons of luck."""
    gauge = Gauge(spec, TARGET, N)
    for a in poor[: 10 * N].split(N):
        found = gauge.compare(a, a * (1.0 + 1e-6))
        assert found.better is None
        assert abs(gauge.compare(a, a).difference) <= 1e-12  # sums in another order


@pytest.mark.parametrize("spec", ["energy", "mmd", SLICED, "ks", *heavy("c2st", "w2")])
def test_a_worse_solver_is_ranked(spec, poor):
    """The control: of 8 repeats with the same noise 3 network calls lose to 30 in 7 at least, and win in none."""
    gauge, good = Gauge(spec, TARGET, 100), solved(30, 800)
    found = [gauge.compare(a, b).better for a, b in zip(good.split(100), poor[:800].split(100), strict=True)]
    assert found.count("a") >= 7
    assert found.count("b") == 0
    back = gauge.compare(poor[:100], good[:100])
    assert (back.better, back.difference > 0.0) == ("b", True)


class Power(Metric):
    """The mean of the samples, to a power."""

    def __init__(self, power):
        self.power = power

    def prepare(self, real, target=None):
        return PowerJudge(self)


class PowerJudge(Judge):
    def __init__(self, metric):
        self.metric, self.event = metric, (2,)

    def see(self, x):
        return x[:, 0]

    def scores(self, seen, counts):
        return (counts.double() @ seen / counts.sum(1)) ** self.metric.power


def test_an_interval_is_the_wider_of_two():
    """Where a = b + 1, point by point, each of the two is known, and the other one is nothing.

    Mean: drawn pairs all differ by 1, exchanged ones by the mean of 80 signs, 95 % of which are below 1.96 / sqrt(80).
    Its square, where the means are +-1/2: exchanged pairs do not change the sum of the means, 0, and so not a^2 - b^2,
    while that of drawn pairs is the sum of the means, of standard deviation 2 sd / sqrt(80). 20 %: 200 draws.
    """
    n = 80
    b = torch.randn(n, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    b = b - b.mean(0) - 0.5
    for power, half in ((1, 1.96 / math.sqrt(n)), (2, 1.96 * 2.0 * float(b[:, 0].std()) / math.sqrt(n))):
        found = Gauge(Power(power), TARGET, n).compare(b + 1.0, b)
        assert found.difference == pytest.approx(2.0 - power, abs=1e-12)
        assert found.high - found.difference == pytest.approx(half, rel=0.2)
        assert found.difference - found.low == pytest.approx(half, rel=0.2)
    assert Gauge(Power(1), TARGET, n).compare(b, b).p == 1.0


def test_both_at_the_floor_is_a_tie():
    """What scores as real samples do is not ranked, however sure the difference: the interval still tells it."""
    x = TARGET.sample(200, seed=77)
    gauge = Gauge("energy", TARGET, 200)
    found = gauge.compare(0.95 * x, x)
    assert max(found.a, found.b) <= gauge.floor[2]
    assert found.low > 0.0
    assert found.better is None


def test_a_gauge_is_deterministic(small):
    """Twice, whatever torch's own generator does; another seed is another reference; measure and compare are its."""
    x, y = solved(10, N), solved(6, N)
    torch.manual_seed(1)
    first = measure("energy", x, TARGET), compare("energy", x, y, TARGET)
    torch.manual_seed(2)
    second = measure("energy", x, "gmm2d"), compare("energy", x, y, "gmm2d")
    assert first == second
    assert measure("energy", x, TARGET, seed=1) != first[0]
    gauge = Gauge("energy", "gmm2d", N)
    assert (gauge.measure(x), gauge.compare(x, y)) == first
    assert gauge.judge(x) == first[0].value == pytest.approx(first[1].a, rel=1e-9)


def test_a_finite_set_is_compared_with_as_a_whole():
    """Its points are the reference, all of them, and samples with replacement the floor."""
    target = torchdiff.targets.Empirical(TARGET.sample(300, seed=1))
    gauge = Gauge("energy", target, 50)
    assert gauge.judge(target.reference(1)) == pytest.approx(0.0, abs=1e-12)
    assert gauge.floor[1] > 0.0


def test_frechet_brings_its_own_reference():
    """Without data: shipped features; its balanced floor is the one of torchdiff.zoo.digits, to 4 deviations."""
    x = torch.rand(100, 1, 28, 28, generator=torch.Generator().manual_seed(0)) * 2 - 1
    found = measure("frechet:balanced=true", x)
    mean, spread = digits.frechet_floor(100)
    assert abs(found.floor - mean) <= 4 * spread
    assert found.floor_low <= found.floor <= found.floor_high < found.low < found.value < found.high
    # random draws have more of some digits, as unconditional samples do
    assert Gauge("frechet", None, 100).floor[0] > 1.3 * found.floor


def test_wrong_requests_are_named():
    """Unknown names, no data, too few real rows, other counts, nan in the data."""
    x = TARGET.sample(40)
    for call, error, message in (
        (lambda: Gauge("fid", TARGET, 40), UnknownNameError, "known: c2st"),
        (lambda: Gauge("energy", "moon", 40), UnknownNameError, "did you mean 'moons'"),
        (lambda: Gauge("energy", None, 40), IncompatibleError, "needs real data, or a target"),
        (lambda: Gauge("energy", x, 40), OptionError, "need 80 real rows at least"),
        (lambda: Gauge("energy", TARGET, 1), OptionError, "takes 2 to"),
        (lambda: Gauge("w2", TARGET, 2001), OptionError, "2 to 2000 samples, got 2001"),
        (lambda: Gauge("energy", TARGET, 40.0), OptionError, "takes 2 to"),
        (lambda: Gauge("energy", TARGET, 40).measure(x[:30]), OptionError, "for 40 samples"),
        (lambda: Gauge("energy", TARGET, 40).compare(x, x[:30]), OptionError, "for 40 samples"),
        (lambda: Gauge("energy", torch.full((100, 2), math.nan), 40), NonFiniteError, "100 of 100"),
        (lambda: measure("energy", [1.0], TARGET), OptionError, "expected a tensor"),
        (lambda: measure("modes", x, TARGET.sample(100)), IncompatibleError, "needs a mixture"),
        (lambda: Gauge("energy", 3, 40), OptionError, "expected a tensor"),
    ):  # fmt: skip
        with pytest.raises(error, match=message) as caught:
            call()
        assert "\n" not in str(caught.value)
