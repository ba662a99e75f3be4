"""Each metric is its formula: closed forms, other implementations, and what must not change it."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy import linalg, stats

import torchdiff
from torchdiff.errors import IncompatibleError, NonFiniteError, OptionError
from torchdiff.metrics import Judge, Metric
from torchdiff.registry import METRICS
from torchdiff.zoo import digits

SYMMETRIC = ("w2", "sliced_w2", "energy", "mmd:bandwidth=0.7", "ks")
ROUND = ("w2", "energy", "mmd:bandwidth=0.7")


def normals(count, dim, seed):
    return torch.tensor(np.random.default_rng(seed).normal(size=(count, dim)))


def judge(spec, real, target=None):
    return torchdiff.get_metric(spec).prepare(real, target)


def test_w2_on_the_line_is_by_sorting():
    """The optimal pairing of numbers is that of their ranks."""
    x, y = normals(200, 1, 0), 1.5 * normals(200, 1, 1) + 0.3
    expected = (x.sort(0).values - y.sort(0).values).square().mean().sqrt()
    assert judge("w2", y)(x) == pytest.approx(float(expected), rel=1e-12)


@pytest.mark.parametrize("dim", [1, 2, 5])
def test_w2_of_a_shift_and_of_a_stretch(dim):
    """Shifted by c: |c|. Stretched by s about 0: |s - 1| times the rms length, for the map is monotone."""
    y = normals(150, dim, 2)
    c = torch.linspace(0.1, 0.7, dim, dtype=torch.float64)
    assert judge("w2", y)(y + c) == pytest.approx(float(c.norm()), rel=1e-12)
    assert judge("w2", y)(1.3 * y) == pytest.approx(0.3 * float(y.square().sum(1).mean().sqrt()), rel=1e-12)


@pytest.mark.parametrize("dim", [2, 7])
def test_sliced_w2_of_a_shift(dim):
    """The mean of <d, c>^2 over the directions: |c|^2 / 2 in the plane, where they lie evenly, else near |c|^2 / D.

    20 %: 128 random directions in 7 dimensions scatter by 6 % (standard deviation).
    """
    y, c = normals(50, dim, 3), torch.linspace(0.1, 0.7, dim, dtype=torch.float64)
    found = judge("sliced_w2", y)(y + c) ** 2
    assert found == pytest.approx(float(c.square().sum()) / dim, rel=1e-12 if dim == 2 else 0.2)


@pytest.mark.parametrize(("n", "m"), [(6, 6), (6, 4), (5, 7), (3, 12), (1, 4)])
def test_sliced_w2_of_any_two_sizes(n, m):
    """Against the pairing by ranks of each point repeated until the sizes are equal."""
    x, y = normals(max(n, 2), 1, 4)[:n], normals(m, 1, 5)
    long = x.repeat_interleave(m, 0).sort(0).values - y.repeat_interleave(n, 0).sort(0).values
    sliced = judge("sliced_w2", y)
    counts = torch.ones(1, n, dtype=torch.int64)
    assert float(sliced.scores(sliced.see(x), counts)[0]) == pytest.approx(
        float(long.square().mean().sqrt()), rel=1e-12
    )


def test_energy_is_scipys_squared():
    """On the line SciPy has the distance as an integral over distribution functions; ours is its square."""
    x, y = normals(70, 1, 6), 1.2 * normals(110, 1, 7) + 0.4
    expected = stats.energy_distance(x[:, 0].numpy(), y[:, 0].numpy()) ** 2
    assert judge("energy", y)(x) == pytest.approx(expected, rel=1e-11)


def folded(mean, spread):
    """E|Z| of N(mean, spread^2)."""
    tail = mean / spread
    return spread * math.sqrt(2 / math.pi) * math.exp(-(tail**2) / 2) + mean * math.erf(tail / math.sqrt(2))


def test_energy_and_mmd_of_normal_laws():
    """Means over 60 sets against closed forms, within 4 standard errors: mmd without bias, energy with its own.

    A point paired with itself adds E|X - X'| / n + E|Y - Y'| / m. mmd: E k = (h^2 / v)^(1/2) exp(-c^2 / 2 v), with v
    the sum of h^2 and both variances.
    """
    n, m, shift, spread, h = 60, 90, 0.4, 1.3, 0.7
    found = {"energy": [], f"mmd:bandwidth={h}": []}
    for k in range(60):
        x, y = spread * normals(n, 1, 100 + k) + shift, normals(m, 1, 200 + k)
        for spec, values in found.items():
            values.append(judge(spec, y)(x))
    own_x, own_y, across = (
        folded(0, spread * math.sqrt(2)),
        folded(0, math.sqrt(2)),
        folded(shift, math.hypot(1, spread)),
    )
    energy = 2 * across - own_x * (1 - 1 / n) - own_y * (1 - 1 / m)

    def kernel(variance, c=0.0):
        v = h * h + variance
        return math.sqrt(h * h / v) * math.exp(-c * c / (2 * v))

    mmd = kernel(2 * spread**2) + kernel(2.0) - 2 * kernel(1 + spread**2, shift)
    for values, expected in zip(found.values(), (energy, mmd), strict=True):
        assert abs(np.mean(values) - expected) <= 4 * np.std(values) / math.sqrt(len(values))
        assert expected > 6 * np.std(values) / math.sqrt(len(values))  # and the form is told from 0


def test_mmd_by_its_definition():
    """Sums over pairs of different points, in Python, with the median distance as the bandwidth."""
    x, y = normals(9, 3, 8).numpy(), (normals(12, 3, 9) + 0.2).numpy()
    h = np.median([np.linalg.norm(a - b) for i, a in enumerate(y) for b in y[:i]])
    pairs = len(y) * (len(y) - 1) // 2
    assert pairs % 2 == 0  # torch takes the lower of two middle values
    h = sorted(np.linalg.norm(a - b) for i, a in enumerate(y) for b in y[:i])[pairs // 2 - 1]

    def k(a, b):
        return math.exp(-np.sum((a - b) ** 2) / (2 * h * h))

    own = [sum(k(a, b) for i, a in enumerate(z) for j, b in enumerate(z) if i != j) / (len(z) * (len(z) - 1))
           for z in (x, y)]  # fmt: skip
    across = np.mean([k(a, b) for a in x for b in y])
    assert judge("mmd", torch.tensor(y))(torch.tensor(x)) == pytest.approx(sum(own) - 2 * across, rel=1e-11)


def test_ks_is_scipys():
    """The largest of SciPy's two-sample statistics over the coordinates, with ties within and across the sets."""
    x = torch.cat([normals(80, 3, 10), normals(40, 3, 11).round()])
    y = torch.cat([0.8 * normals(100, 3, 12) + 0.1, normals(50, 3, 13).round()])
    expected = max(stats.ks_2samp(a, b).statistic for a, b in zip(x.T.numpy(), y.T.numpy(), strict=True))
    assert judge("ks", y)(x) == pytest.approx(expected, rel=1e-12)


def test_modes_by_hand():
    """Shares 3/4 and 1/4 of two modes that should have 1/3 and 2/3: 5/12; a mode that is gone is told."""
    target = torchdiff.targets.Mixture([1.0, 2.0], [[-5.0], [5.0]], 1.0)
    modes = judge("modes", target.sample(10), target)
    x = torch.tensor([[-5.0], [-4.0], [-6.0], [4.5]])
    assert modes(x) == pytest.approx(5 / 12, rel=1e-12)
    assert (modes.counts(x).tolist(), modes.dropped(x), modes.dropped(x[:3])) == ([3, 1], [], [1])
    many = torch.cat([x[:1].expand(59, 1), x[3:]])  # one of 60, where 40 should be
    assert modes.dropped(many) == [1]
    with pytest.raises(IncompatibleError, match="needs a mixture"):
        judge("modes", target.sample(10))
    with pytest.raises(IncompatibleError, match="needs a mixture"):
        judge("modes", target.sample(10), torchdiff.get_target("moons"))


def test_frechet_by_its_formula():
    """In the classifier's features, the matrix root by SciPy's sqrtm; by images and by their features alike."""
    random = torch.Generator().manual_seed(0)
    x, y = (torch.rand(count, 1, 28, 28, generator=random) * 2 - 1 for count in (90, 120))
    a, b = (digits.classifier().features(z).double().numpy() for z in (x, y))
    covs = [np.cov(z.T) for z in (a, b)]
    expected = np.sum((a.mean(0) - b.mean(0)) ** 2) + np.trace(
        covs[0] + covs[1] - 2 * linalg.sqrtm(covs[0] @ covs[1]).real
    )
    assert judge("frechet", y.double())(x) == pytest.approx(expected, rel=1e-5)  # float32 features; sqrtm of rank 64
    assert judge("frechet", torch.tensor(b))(x) == pytest.approx(expected, rel=1e-5)
    with pytest.raises(IncompatibleError, match=r"got data of shape \(2,\)"):
        judge("frechet", normals(10, 2, 0))


@pytest.mark.parametrize(
    ("shift", "least", "most"), [(0.0, -0.03, 0.03), (1.0, 0.14, 0.23), (2.0, 0.30, 0.38), (50.0, 0.5, 0.5)]
)
def test_c2st_of_shifted_normals(shift, least, most):
    """The best classifier is right with probability Phi(shift / 2), 1/2 more or less: 0, 0.191, 0.341, 0.5.

    0.04: twice the standard error of 1000 guesses, and what a fitted classifier loses.
    """
    x, y = normals(500, 2, 20), normals(500, 2, 21)
    x[:, 0] += shift
    assert least <= judge("c2st", y)(x) <= most


def test_c2st_guesses_only_what_it_has_not_seen():
    """67 numbers fitted to 100 points of one law would tell them apart; on held-out ones it is chance, 30 times.

    0.03: four standard errors of 3000 guesses; a fit that has seen its points scores 0.1 and more.
    """
    found = [judge("c2st", normals(50, 2, 60 + k))(normals(50, 2, 160 + k)) for k in range(30)]
    assert abs(np.mean(found)) <= 0.03


@pytest.mark.parametrize("spec", ["w2", "sliced_w2", "energy", "ks"])
def test_equal_sets_are_at_distance_0(spec):
    """In another order too; not mmd and c2st, which are unbiased, nor modes, which compares with the law."""
    y = normals(40, 3, 30)
    assert judge(spec, y)(y.flip(0)) == pytest.approx(0.0, abs=1e-7)  # 1e-7: the root of rounding


@pytest.mark.parametrize("spec", SYMMETRIC)
def test_a_distance_is_symmetric(spec):
    """Samples and data may change places."""
    x, y = normals(40, 3, 31), 1.4 * normals(40, 3, 32) + 0.2
    assert judge(spec, y)(x) == pytest.approx(judge(spec, x)(y), rel=1e-10)


@pytest.mark.parametrize("spec", ROUND)
def test_a_rotation_changes_nothing(spec):
    """Nor does a shift of both."""
    x, y = normals(40, 3, 33), 1.4 * normals(40, 3, 34) + 0.2
    turn = torch.linalg.qr(normals(3, 3, 35)).Q
    assert judge(spec, y @ turn + 5.0)(x @ turn + 5.0) == pytest.approx(judge(spec, y)(x), rel=1e-10)


MADE = {
    **{spec: None for spec in (*SYMMETRIC, "mmd")},
    "modes": "gmm2d:modes=3",
}  # fmt: skip


@pytest.mark.parametrize("spec", MADE)
def test_counts_are_rows_that_stand_several_times(spec):
    """scores(seen, counts) is the metric of the rows so often, in any order: what intervals and swaps are made of."""
    target = None if MADE[spec] is None else torchdiff.get_target(MADE[spec])
    y, x = 1.2 * normals(12, 2, 40), normals(20, 2, 41)
    x[3] = x[4]
    one = judge(spec, y, target)
    random = np.random.default_rng(0)
    counts = torch.tensor(random.multinomial(12, np.full(20, 0.05), size=5))
    found = one.scores(one.see(x), counts)
    for row, score in zip(counts, found, strict=True):
        rows = torch.arange(20).repeat_interleave(row)[torch.tensor(random.permutation(12))]
        assert float(score) == pytest.approx(one(x[rows]), rel=1e-9, abs=1e-12)


def test_counts_of_frechet_and_c2st():
    """The same for the others: frechet by repetition; in c2st a point drawn twice is twice in its fold."""
    x = torch.rand(30, 1, 28, 28, generator=torch.Generator().manual_seed(1)) * 2 - 1
    one = torchdiff.get_metric("frechet").prepare(digits.reference()["features"][:200].double())
    counts = torch.ones(1, 30, dtype=torch.int64)
    counts[0, 2], counts[0, 5] = 3, 0
    counts[0, 6] = 0
    rows = torch.arange(30).repeat_interleave(counts[0])
    assert float(one.scores(one.see(x.double()), counts)[0]) == pytest.approx(one(x[rows]), rel=1e-5)
    test = judge("c2st", normals(40, 2, 0))
    near, far = normals(40, 2, 1), normals(40, 2, 2) + 50.0
    whole = torch.ones(1, 40, dtype=torch.int64)
    none = torch.zeros_like(whole)
    both = test.scores(
        test.see(torch.cat([near, far])), torch.cat([torch.cat([whole, none], 1), torch.cat([none, whole], 1)])
    )
    assert float(both[1]) == 0.5
    assert float(both[0]) < 0.2


@pytest.mark.parametrize("spec", [name for name in METRICS if name not in ("modes", "frechet")])
def test_wrong_samples_are_named(spec):
    """nan, infinity, other shapes, too few and too many, no tensor: said at once, with the first wrong sample."""
    metric, y = torchdiff.get_metric(spec), normals(40, 2, 0)
    one, x = metric.prepare(y), normals(40, 2, 1)
    for value in (math.nan, math.inf):
        bad = x.clone()
        bad[7, 1] = value
        with pytest.raises(NonFiniteError, match="1 of 40 samples .* sample 7"):
            one(bad)
    for wrong in (x[:, :1], x[:, 0], x[None], x.numpy(), x[:1], None):
        with pytest.raises(OptionError, match="expected|takes"):
            one(wrong)
    if type(metric).equal:
        with pytest.raises(OptionError, match="as many|takes"):
            one(x[:30])


@pytest.mark.parametrize("spec", ["sliced_w2:directions=0", "mmd:bandwidth=0", "c2st:features=0", "fid", "w2:p=1"])
def test_wrong_options_are_refused(spec):
    """One line; there is no FID here, for its network is not."""
    with pytest.raises(ValueError, match="got|known|no option"):
        torchdiff.get_metric(spec)


def test_mmd_needs_points_that_differ():
    """The median distance of a set of which most points coincide is 0: no bandwidth."""
    with pytest.raises(IncompatibleError, match="bandwidth"):
        judge("mmd", torch.zeros(10, 2).double())


def test_a_metric_of_your_own_is_one_decorator():
    """prepare, see and scores are all that it takes to have intervals, a floor and comparisons."""
    try:

        @torchdiff.register_metric("test_mean")
        class Mean(Metric):
            """The difference of the means."""

            def prepare(self, real, target=None):
                return MeanJudge(self, real)

        class MeanJudge(Judge):
            def __init__(self, metric, real):
                self.metric, self.event, self.mean = metric, tuple(real.shape[1:]), real.mean(0)

            def see(self, x):
                return x

            def scores(self, seen, counts):
                return (counts.double() @ seen / counts.sum(1, keepdim=True) - self.mean).norm(dim=1)

        found = torchdiff.metrics.measure("test_mean", normals(100, 2, 0) + 3.0, torchdiff.get_target("gmm2d"))
        assert found.low < math.sqrt(18) < found.high
        assert found.floor_high < 0.5
    finally:
        METRICS._classes.pop("test_mean", None)
        METRICS._names.pop(Mean, None)
