"""The grid that is computed for a solver: least on its objective, the same everywhere, and of use beyond Gaussians."""

from __future__ import annotations

import math
import subprocess
import sys
from itertools import pairwise

import numpy as np
import pytest
import torch
from scipy.linalg import eigh

import torchdiff
from torchdiff import gaussian
from torchdiff.denoiser import Denoiser
from torchdiff.errors import IncompatibleError, OptionError, UnknownNameError
from torchdiff.grids import Optimal
from torchdiff.planner import likely, request
from torchdiff.registry import GRIDS, SDES
from torchdiff.spectra import Spectrum, power_law, spectrum
from torchdiff.tune import objective, optimal_times, search
from torchdiff.tune.coordinate import LEAST, Steps
from torchdiff.tune.objective import Objective
from torchdiff.tune.search import known_grids

DATA = power_law()
SIZE = math.sqrt(DATA.variance.sum())


def watched(sde, solver, times, final=None):
    """The plan of these times, x kept at the end of each interval."""
    denoiser = Denoiser(None, likely(SDES.get(sde), times[0]))
    wish = request(
        sde, solver, denoiser, steps=None, calls=None, times=times, grid=None, t_min=None, t_max=None, final=final
    )
    return wish.trace(denoiser, watch=True)


def relative(solver, final="t_min", **grid):
    return gaussian.w2(torchdiff.plan("vp", solver, final=final, **grid), *DATA) / SIZE


def test_eight_steps_reach_the_end():
    """DPM++2M at 8 steps on k^-1.2: W2 over the size of the data is 0.036 on log-SNR, 0.13 on Karras, 0.24 on uniform
    times, by calculation; the grid that is optimal for it has less than 0.0004."""
    fixed = [relative("dpmpp_2m", steps=8, grid=grid) for grid in ("log_snr", "karras", "uniform")]
    assert fixed == pytest.approx([0.036, 0.13, 0.24], rel=0.05)  # two digits
    times = optimal_times("vp", "dpmpp_2m", steps=8, objective="end", final="t_min", cache=False)
    assert relative("dpmpp_2m", times=times) < 0.0004


@pytest.mark.parametrize("objective", ["steps", "own", "end"])
@pytest.mark.parametrize(
    ("sde", "solver", "steps"),
    [("vp", "ddim", 5), ("vp", "dpmpp_2m_sde", 4), ("flow", "dpmpp_2m", 6), ("ve", "unipc", 5), ("cld", "sscs", 2)],
)
def test_no_registered_grid_is_better(sde, solver, steps, objective):
    """On its objective the optimal grid is at most each registered grid between the same ends; both ends are pinned."""
    measure = Objective(objective, DATA)
    process = SDES.get(sde)
    high, low = process.t_max, 0.01 * process.t_max
    times = optimal_times(sde, solver, steps=steps, objective=objective, t_max=high, t_min=low, cache=False)
    assert (len(times), times[0], times[-1]) == (steps + 1, high, low)
    assert all(b < a for a, b in pairwise(times))
    best = measure.value(watched(sde, solver, times))
    others = {name: measure.value(watched(sde, solver, grid)) for name, grid in known_grids(process, steps, high, low)}
    assert len(others) >= 3
    assert best <= min(others.values())
    # the search is not idle: it gains 5 % and more on these
    assert best < 0.96 * min(others.values())


def test_the_end_is_w2():
    """Objective "end" is W2 over the root of the second moment, up to what 24 nodes lose of 256 eigenvalues."""
    data = Spectrum(DATA.variance, 3.0 * np.sqrt(DATA.variance))  # the mean has a sixth of the squared error
    plan = watched("vp", "dpmpp_2m", GRIDS.get("karras").times(SDES.get("vp"), 6))
    wanted = gaussian.w2(plan, *data) / math.sqrt(float(data.variance.sum() + (data.mean**2).sum()))
    assert Objective("end", data).value(plan) == pytest.approx(wanted, rel=0.002)  # measured: 0.0004


@pytest.mark.parametrize(("solver", "final"), [("dpmpp_2m", "denoise"), ("ddpm", "t_min"), ("unipc", "t_min")])
def test_what_the_steps_add_is_the_error(solver, final):
    """Objective "own" along one eigenvector: the changes of g(s / s') add up to the whole without prior and end."""
    plan = watched("vp", solver, GRIDS.get("log_snr").times(SDES.get("vp"), 5), final)
    changes = Objective("own", Spectrum(np.array([0.4]), np.array([0.3]))).residuals(plan).reshape(-1, 2)
    law, ideal, start = (
        gaussian.moments(plan, 0.4, 0.3),
        gaussian.end(plan, 0.4, 0.3),
        gaussian.prior(plan.sde, plan.grid[0], 0.4),
    )
    exact = gaussian.marginal(plan.sde, plan.grid[0], 0.4, 0.3)
    ratios = [float(one.deviation[0] / other.deviation[0]) for one, other in ((law, ideal), (start, exact))]
    ends = [math.log(ratio) if ratio < 1.0 else ratio - 1.0 for ratio in ratios]
    shifts = [float((a.mean - b.mean)[0, 0] / b.deviation[0]) for a, b in ((law, ideal), (start, exact))]
    assert len(changes) == len(plan.grid) - 1
    assert changes.sum(axis=0) == pytest.approx([ends[0] - ends[1], shifts[0] - shifts[1]], rel=1e-11)


def test_blocks_are_measured_in_coordinates_of_the_exact_law():
    """Of two blocks: g of the eigenvalues of the root of S'^-1/2 S S'^-1/2 in any coordinates; the mean alike."""
    random = np.random.default_rng(0)
    factors = random.normal(size=(2, 5, 2, 2))
    law, exact = (gaussian.Gaussian(random.normal(size=(5, 2)), f @ f.transpose(0, 2, 1)) for f in factors)
    found = objective._away(law, exact)
    for i in range(5):
        roots = np.sqrt(eigh(law.cov[i], exact.cov[i], eigvals_only=True))
        wanted = np.where(roots < 1.0, np.log(roots), roots - 1.0)
        assert np.linalg.norm(found[i, :3]) == pytest.approx(np.linalg.norm(wanted), rel=1e-9)
        gap = law.mean[i] - exact.mean[i]
        assert found[i, 3:] @ found[i, 3:] == pytest.approx(gap @ np.linalg.solve(exact.cov[i], gap), rel=1e-9)


def test_an_exact_run_has_no_steps():
    """ddim:eta=1 is exact for a single data point: no step adds anything, on one eigenvalue of almost nothing."""
    plan = watched("vp", "ddim:eta=1", GRIDS.get("uniform").times(SDES.get("vp"), 4), "t_min")
    nothing = Objective("own", Spectrum(np.array([1e-14]), np.array([0.0])))
    assert nothing.value(plan) < 1e-4  # of sqrt(1e-14 / sigma^2) at t_min; 0.1 to 1 on data with variance
    assert Objective("own", DATA).value(plan) > 0.1


def test_numbers_are_grids_and_back():
    """Every vector of numbers is a grid that falls, no step below 2 % of the mean one; its numbers give it again."""
    for sde, kind in (("vp", "log_snr"), ("flow", "flow"), ("cld", "t")):
        process = SDES.get(sde)
        free = Steps(process, process.t_max, 0.001 * process.t_max, 7)
        assert free.kind == kind
        for seed in range(20):
            numbers = 3.0 * np.random.default_rng(seed).normal(size=7)
            times = free.times(numbers)
            assert (times[0], times[-1]) == (free.t_max, free.t_min)
            places = np.array([free._at(t) for t in times])
            least = np.diff(places) / (places[-1] - places[0]) * 7
            assert least.min() >= LEAST * (1.0 - 1e-6)
            if numbers.max() - numbers.min() < 5.0:  # beyond, a step is 2 % of the mean one whatever its number
                assert free.times(free.numbers(times)) == pytest.approx(times, rel=1e-9)


CODE = """
import torchdiff
plan = torchdiff.plan("vp", "dpmpp_2m", steps=6, grid="optimal:cache=false")
print([level.t.hex() for level in plan.grid])
"""


def test_the_same_grid_again_and_elsewhere():
    """Twice in this process and once in another one: the same floats, bit for bit."""
    first, second = (torchdiff.plan("vp", "dpmpp_2m", steps=6, grid="optimal:cache=false") for _ in range(2))
    assert first.grid == second.grid
    run = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, check=True, timeout=120)
    assert run.stdout.strip() == str([level.t.hex() for level in first.grid])


def test_what_the_network_predicts_does_not_matter():
    """The times are those of the solver; `calls` finds as many steps as on any grid; one step has no freedom."""
    for prediction in ("v", "x0"):
        plan = torchdiff.plan("vp", "dpmpp_2m", calls=6, grid="optimal:cache=false", prediction=prediction)
        assert (plan.calls, plan.steps) == (6, 5)
        times = optimal_times("vp", "dpmpp_2m", steps=5, cache=False)
        assert tuple(level.t for level in plan.grid[:-1]) == times
    one = torchdiff.plan("vp", "ddim", steps=1, grid="optimal", t_max=0.9, t_min=0.02)
    assert [level.t for level in one.grid] == [0.9, 0.02, 0.0]
    out = torchdiff.sample(
        lambda x, t: -x, "vp", "ddim", steps=3, grid="optimal:cache=false", shape=(2, 3), prediction="eps", seed=0
    )
    assert out.plan.grid == torchdiff.plan("vp", "ddim", steps=3, grid="optimal:cache=false").grid


def test_what_else_was_asked_for_stays():
    """final and noise are those of the request. A denoising step is one linear map of exact and inexact laws alike: it
    adds nothing to the error relative to them, and the times before it are those without it."""
    words = dict(steps=4, grid="optimal:cache=false")
    plan = torchdiff.plan("vp", "ddpm", final="t_min", noise="brownian", **words)
    assert (plan.final, plan.noise, plan.grid[-1].t) == (False, "brownian", plan.sde.t_min)
    assert plan.grid == torchdiff.plan("vp", "ddpm", **words).grid[:-1]


def ring(count=8, radius=0.65, width=0.05):
    """The exact eps network of equal normals on a circle under VP, by Bayes' rule, and the law's eigenvalues."""
    angle = 2.0 * math.pi * torch.arange(count, dtype=torch.float64) / count
    centers = radius * torch.stack([angle.cos(), angle.sin()], dim=1)

    def net(x, t):
        level = SDES.get("vp").level(float(t[0]))
        variance = level.alpha**2 * width**2 + level.sigma**2
        away = x[:, None, :] - level.alpha * centers
        share = torch.softmax(-0.5 * away.square().sum(-1) / variance, dim=1)
        return level.sigma * (share[..., None] * away).sum(1) / variance

    return net, [0.5 * radius**2 + width**2] * 2


@pytest.mark.parametrize(("solver", "bar"), [("dpmpp_2m", 0.5), ("ddim", 0.8), ("unipc", 0.5)])
def test_it_is_of_use_on_a_mixture(solver, bar):
    """Eight modes on a ring, 10 calls: the distance to the ends of a fine run from the same noise is less than that of
    the best fixed grid by a third and more. Its objective has never seen a mixture."""
    net, values = ring()

    def run(solver, **options):
        return torchdiff.sample(
            net, "vp", solver, shape=(256, 2), seed=0, prediction="eps", dtype=torch.float64, **options
        ).x

    fine = run("dpmpp_3m", steps=200)
    far = {grid: float((run(solver, calls=10, grid=grid) - fine).norm()) for grid in ("log_snr", "karras", "quadratic")}
    times = optimal_times("vp", solver, calls=10, spectrum=values, cache=False)
    # measured: 0.16, 0.63 and 0.13 of the best fixed grid
    assert float((run(solver, times=times) - fine).norm()) < bar * min(far.values())


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        (dict(solver="predictor_corrector"), IncompatibleError, "needs sampling"),
        (dict(solver="rk45"), IncompatibleError, "needs sampling"),
        (dict(steps=1000), OptionError, "1 to 200 steps"),
        (dict(grid="optimal:objective=all"), OptionError, "one of steps, own, end, got 'all'"),
        (dict(grid="optimal:spectrum=none"), UnknownNameError, "unknown spectrum 'none'"),
        (dict(grid=Optimal([1.0, -1.0])), OptionError, "eigenvalues >= 0"),
        (dict(grid=Optimal([])), OptionError, "K >= 1"),
        (dict(grid=Optimal([0.0, 0.0])), OptionError, "data that varies"),
        (dict(t_max=0.1, t_min=0.2), OptionError, "t_max"),
    ],
)
def test_what_has_no_optimal_grid_is_named(options, error, message):
    """Solvers whose error needs sampling, too many steps, unknown objectives, data that is none."""
    words = dict(solver="ddim", steps=4, grid="optimal") | options
    with pytest.raises(error, match=message):
        torchdiff.plan("vp", **words)


@pytest.mark.parametrize(("sde", "solver"), [("cld", "sscs"), ("flow", "ddpm")])
@pytest.mark.parametrize("objective", ["steps", "own", "end"])
def test_directions_without_variance_are_no_trouble(sde, solver, objective):
    """An eigenvalue of 0 has no weight beside another one, up to the data itself, where its law has no width."""
    words = dict(steps=2, objective=objective, t_min=0.0, cache=False)
    times = optimal_times(sde, solver, spectrum=[0.5, 0.0], **words)
    assert times[-1] == 0.0
    if objective != "end":
        assert times == optimal_times(sde, solver, spectrum=[0.5], **words)


def test_a_grid_without_a_solver_is_refused():
    """Grid.times does not know the solver; a last word of how to get them."""
    with pytest.raises(IncompatibleError, match="optimal_times"):
        Optimal().times(SDES.get("vp"), 5)
    assert spectrum(Optimal().spectrum).variance.size == 256
    assert [Optimal(name).by_value for name in ("power:count=3", "digits", "x.npy", "pca:file=x.npy")] == [
        True,
        True,
        False,
        False,
    ]


def test_a_search_that_goes_astray_ends_with_the_best_known(monkeypatch):
    """Numbers of a bad grid, whatever the descent says of them, are not taken: the best registered grid is."""
    monkeypatch.setattr(search, "descend", lambda residuals, start, floor: (np.linspace(-3.0, 3.0, start.size), 0.0))
    times = optimal_times("vp", "ddim", steps=5, cache=False)
    process, measure = SDES.get("vp"), Objective("steps", DATA)
    values = {
        grid: measure.value(watched("vp", "ddim", grid))
        for _, grid in known_grids(process, 5, process.t_max, process.t_min)
    }
    assert times == min(values, key=lambda grid: values[grid])
