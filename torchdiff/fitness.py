"""Whether a network does what its wrap says, on a few data points: the check of `torchdiff.wrap`."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import product
from typing import Any, NamedTuple

import torch
from torch import Tensor

from torchdiff.blocks import Mat
from torchdiff.counters import USER, draw_number
from torchdiff.denoiser import Denoiser
from torchdiff.errors import ConventionError, OptionError, TorchdiffError
from torchdiff.noise import normal
from torchdiff.registry import SDES
from torchdiff.sde.base import Level, LinearSDE, ScalarSDE

PRESETS = ("ddpm", "score_sde", "score_sde_ve", "k_diffusion", "flow_matching", "edm", "edm:sigma_data=1")
OUTPUTS = ("eps", "x0", "v", "score", "flow", "flow_matching", "mixed_score")
TIMES = ("t", 999, 1000, "index", "reversed", "sigma", "log_snr", "c_noise")
INPUTS = ("none", "unit", "data")
RATIOS = (0.1, 0.3, 0.7, 1.5, 4.0, 10.0)  # noise to signal, in units of the data's standard deviation
CLOCKS = (0.05, 0.1, 0.2, 0.35, 0.6, 1.0)  # the levels of SDEs with blocks, in units of t_max

# A reading is good if the geometric mean over the levels of its error, in units of that of the best linear guess from
# one mean and one variance, is at most WORST, and smaller by SAYS than without the network. It fits if no other is
# better by the factor BETTER and by SURE standard errors over the rows. A trained network is far inside: see
# tests/test_fitness.py.
WORST, SAYS, BETTER, SURE = 1.25, 0.05, 1.03, 4.0
ROWS = 2048  # numbers at each level: points are left out, or noised several times, to have as many


class Reading(NamedTuple):
    """One way to read a network: eps of the last block = own * last block + factor * output, per level."""

    words: str
    labels: tuple[float, ...]
    scales: tuple[float, ...]
    own: tuple[float, ...]
    factor: tuple[float, ...]


class Fit(NamedTuple):
    reading: Reading
    error: float  # in units of the best linear guess, geometric mean over the levels
    says: float  # by how much of itself the error falls with the network's output, mean over the levels
    errors: Tensor  # (levels, n), in the same units

    @property
    def good(self) -> bool:
        return self.error <= WORST and self.says >= SAYS

    def __str__(self) -> str:
        return (
            f"{self.reading.words} (error {self.error:.3g} of a linear guess's, {self.says:.0%} less than without it)"
        )


class Trial(NamedTuple):
    """Noised data: at each level the state, the normals of its last block, and the error of the best linear guess."""

    levels: tuple[Level, ...]
    states: list[list[Tensor]]
    normals: list[Tensor]
    linear: list[float]


def check_convention(
    denoiser: Denoiser, sde: LinearSDE | str, points: Tensor, cond: Mapping[str, Any] | None = None
) -> None:
    """Nothing, if a network's outputs fit its wrap. Raises ConventionError that names what fits, or what was tried.

    points: data (n, *event), n >= 8, 128 numbers at least; of the first 1024 points, those with 2048 numbers in all,
    4 at least. cond: keyword arguments of the network; tensors of n rows go with the points. Noise comes from counters:
    no call changes any generator, and the answer is always the same.
    """
    sde = SDES.get(sde)
    points, cond = _points(denoiser, points, cond or {})
    trial = _trial(sde, points)
    own = _reading(denoiser, trial.levels)
    readings = {_numbers(own): own}
    for reading in _readings(denoiser, trial.levels):
        readings.setdefault(_numbers(reading), reading)
    outputs: dict[tuple[Any, ...], Tensor | None] = {}
    for reading in readings.values():
        inputs = (reading.labels, reading.scales)
        if inputs not in outputs:
            outputs[inputs] = _outputs(denoiser, trial, reading, cond, must=reading is own)
    fits = [_fit(trial, reading, outputs[reading.labels, reading.scales]) for reading in readings.values()]
    mine, best = fits[0], min(fits, key=lambda fit: fit.error)
    if mine.good and not _beats(best, mine):
        return
    near = [fit for fit in fits if fit.good and not _beats(best, fit)]
    near.sort(key=lambda fit: fit.error > 1.01 * best.error)  # what no data tell apart (999 t, 1000 t) in our order
    seen = f"{len(points)} noised points at t = {', '.join(f'{level.t:.3g}' for level in trial.levels)}"
    if near:
        also = "".join(f"; so does {fit.reading.words}" for fit in near[1:3])
        raise ConventionError(f"{mine} does not fit this network, by {seen}. What fits is {near[0]}{also}")
    tried = f"{', '.join(dict.fromkeys((denoiser.prediction, *OUTPUTS, *PRESETS)))} and their negatives"
    raise ConventionError(
        f"no convention fits this network, by {seen}: it was said to be {mine}; the best of {len(fits)} is {best}. "
        f"Tried: predictions {tried}; times {', '.join(map(str, TIMES))}; input scales {', '.join(INPUTS)}. Is it "
        f"trained, for this SDE, {SDES.label(sde)}, on data scaled as these points (mean {points.mean():.3g}, standard "
        f"deviation {points.std():.3g})? A convention of your own is a class with @torchdiff.register_convention"
    )


def _numbers(reading: Reading) -> tuple[Any, ...]:
    """What two readings differ by, to 9 digits."""
    return tuple(float(f"{number:.9g}") for part in reading[1:] for number in part)


def _points(denoiser: Denoiser, points: Any, cond: Mapping[str, Any]) -> tuple[Tensor, dict[str, Any]]:
    good = isinstance(points, Tensor) and points.is_floating_point() and points.dim() > 0 and len(points) >= 8
    if not good or points.numel() < 128:
        came = f"shape {tuple(points.shape)}, {points.dtype}" if isinstance(points, Tensor) else type(points).__name__
        raise OptionError(
            f"check needs 8 data points or more, of 128 numbers, in a floating tensor, batch first, got {came}"
        )
    event = max(1, math.prod(points.shape[1:]))
    count = max(4, min(len(points), ROWS // event))
    times = max(1, ROWS // (count * event))
    own = {name: isinstance(c, Tensor) and c.dim() > 0 and len(c) == len(points) for name, c in cond.items()}
    rows = {name: torch.cat([c[:count]] * (times * len(RATIOS))) if own[name] else c for name, c in cond.items()}
    with torch.no_grad():
        points = points[:count] if denoiser.latent is None else denoiser.latent.encoded(points[:count])
    points = torch.cat([points if points.dtype.itemsize >= 4 else points.float()] * times)
    if not bool(points.isfinite().all()) or float(points.std()) == 0.0:
        raise OptionError("check needs data that is finite and not all the same number")
    return points, rows


def _trial(sde: LinearSDE, points: Tensor) -> Trial:
    spread = float(points.double().std(correction=0))
    if isinstance(sde, ScalarSDE):
        low, high = sde.level(sde.t_max).half_log_snr, sde.level(sde.t_min).half_log_snr
        wanted = [min(max(-math.log(ratio * spread), low), high) for ratio in RATIOS]
        levels = tuple(map(sde.at, wanted))
    else:
        levels = tuple(sde.level(max(sde.t_min, clock * sde.t_max)) for clock in CLOCKS)
    states, normals, linear = [], [], []
    for i, level in enumerate(levels):
        alpha, sigma = (level.alpha, level.sigma) if not level.scalar else (Mat([[level.alpha]]), Mat([[level.sigma]]))
        fresh = [
            normal(points.shape, seed=0, draw=draw_number(USER, i, block=b), dtype=points.dtype, device=points.device)
            for b in range(sde.blocks)
        ]
        states.append([])
        for a, row in zip(alpha, sigma, strict=True):
            states[-1].append(points * a[0] + sum(z * s for z, s in zip(fresh, row, strict=True)))
        normals.append(fresh[-1])
        along = torch.tensor([a[0] for a in alpha], dtype=torch.float64)
        noise = torch.tensor(sigma, dtype=torch.float64)
        cov = spread**2 * torch.outer(along, along) + noise @ noise.T
        # the error of the linear guess of the last normal: 1 - c^T C^-1 c, c its covariance with the state
        linear.append(float(1.0 - noise[:, -1] @ torch.linalg.solve(cov, noise[:, -1])))
    return Trial(levels, states, normals, linear)


def _readings(denoiser: Denoiser, levels: tuple[Level, ...]) -> Iterator[Reading]:
    """Every convention that has a meaning here, those in the fewest words first, then their negatives."""
    time, scale = denoiser.time, denoiser.input_scale
    if denoiser.convention.gradient:
        ways = [*product((denoiser.prediction,), (None, *TIMES), (None, *INPUTS))]
    else:
        ways = [*product((*OUTPUTS, *PRESETS), (None,), (None,)), *product(OUTPUTS, TIMES, (None,))]
        ways += product((denoiser.prediction,), (None, *TIMES), (None, *INPUTS))
        ways += product(OUTPUTS, (time, *TIMES), (scale, *INPUTS))
    found = []
    for prediction, time, scale in ways:
        try:
            reading = _reading(replace(denoiser, prediction=prediction, time=time, input_scale=scale), levels)
        except (TorchdiffError, ArithmeticError):  # it has no meaning for this SDE, or no number at one of the levels
            continue
        found.append(reading)
    yield from found
    for reading in found:
        yield reading._replace(words=f"minus {reading.words}", factor=tuple(-f for f in reading.factor))


def _reading(denoiser: Denoiser, levels: tuple[Level, ...]) -> Reading:
    words = [f"prediction={denoiser.prediction!r}"]
    words += [f"time={denoiser.time!r}"] if denoiser.time is not None else []
    words += [f"input_scale={denoiser.input_scale!r}"] if denoiser.input_scale is not None else []
    own, factor = [], []
    for level in levels:
        first, second = denoiser.meaning(level)
        if level.scalar:
            det = level.alpha * second - level.sigma * first
            first, second = -first / det, level.alpha / det
        else:
            first, second = -level.sigma[-1][-1] * first, -level.sigma[-1][-1] * second
        own.append(first)
        factor.append(second)
    labels, scales = tuple(map(denoiser.label, levels)), tuple(map(denoiser.scale, levels))
    return Reading(", ".join(words), labels, scales, tuple(own), tuple(factor))


def _outputs(denoiser: Denoiser, trial: Trial, reading: Reading, cond: Mapping[str, Any], must: bool) -> Tensor | None:
    """What the network says at all levels, (levels, n, *event); None if it cannot be asked in this way."""
    like, count = trial.normals[0], len(trial.normals[0])
    times = torch.tensor(reading.labels, dtype=like.dtype, device=like.device).repeat_interleave(count)
    rows = zip(*trial.states, strict=True)
    fed = [torch.cat([x * c for x, c in zip(block, reading.scales, strict=True)]) for block in rows]
    try:
        with torch.no_grad():
            (output,) = denoiser.bind(cond).ask(fed, trial.levels[0], times)
    except Exception:
        if must:
            raise
        return None
    return output.to(like.dtype).unflatten(0, (len(trial.levels), count)) if bool(output.isfinite().all()) else None


def _fit(trial: Trial, reading: Reading, outputs: Tensor | None) -> Fit:
    if outputs is None:
        return Fit(reading, math.inf, 0.0, torch.full((len(trial.levels), len(trial.normals[0])), math.inf))
    errors, says = [], []
    rows = zip(trial.states, trial.normals, trial.linear, outputs, reading.own, reading.factor, strict=True)
    for state, eps, linear, output, own, factor in rows:
        silent = (eps.double() - own * state[-1].double()).reshape(len(eps), -1)
        error = (silent - factor * output.double().reshape(silent.shape)).square().mean(dim=1)
        errors.append(error.clamp(min=1e-300) / linear)
        says.append(1.0 - float(error.mean() / silent.square().mean()))
    each = torch.stack(errors)
    return Fit(reading, float(each.mean(dim=1).log().mean().exp()), math.fsum(says) / len(says), each)


def _beats(one: Fit, other: Fit) -> bool:
    """Whether a fit is better than another by more than chance over the points would have it."""
    if not other.error > BETTER * one.error:
        return False
    level = one.errors.mean(dim=1, keepdim=True)
    gain = ((other.errors - one.errors) / level).mean(dim=0)
    return other.error == math.inf or bool(gain.mean() > SURE * gain.std() / len(gain) ** 0.5)
