"""Langevin dynamics on their own: chains that need a score and no SDE."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from torchdiff import ops
from torchdiff.amounts import count, not_negative, positive
from torchdiff.counters import LANGEVIN, PRIOR, draw_number
from torchdiff.energy import gradient
from torchdiff.errors import NetworkError, NonFiniteError, OptionError, shown
from torchdiff.inputs import Place, float_type, index, sizes
from torchdiff.noise import as_seeds, fresh_seed

Seed = int | Sequence[int] | Tensor


@dataclass(frozen=True)
class Chains:
    """What a run of Langevin dynamics returns.

    x:          the last state of each chain (B, *event).
    seed:       what was used: what makes the same chains again, drawn for you if you gave none.
    trajectory: (k, B, *event), every `every`-th state, the start first; None unless asked for.
    calls:      how often the score was asked for.
    """

    x: Tensor
    seed: Seed
    trajectory: Tensor | None
    calls: int


class _Walk:
    """The state of all chains, and its one update: a fused weighted sum with noise that is never stored."""

    def __init__(self, x: Tensor, seed: Seed | None, first_index: int, temperature: float, every: int | None) -> None:
        self.x, self.temperature = x, not_negative("temperature", temperature)
        self.every = None if every is None else count("every", every)
        self.seed = fresh_seed() if seed is None else seed
        self.seeds = as_seeds(self.seed, x.shape[0]).to(x.device)
        self.first_index, self.step, self.calls = index(first_index), 0, 0
        self.frames = [x.clone()] if every is not None else []

    def ask(self, score: Callable[[Tensor], Tensor]) -> Tensor:
        """The score at x, checked."""
        self.calls += 1
        found = score(self.x)
        if not isinstance(found, Tensor) or found.shape != self.x.shape:
            came = tuple(found.shape) if isinstance(found, Tensor) else type(found).__name__
            raise NetworkError(f"the score returned {came} in step {self.step}, expected shape {tuple(self.x.shape)}")
        return found.to(self.x.dtype)

    def move(self, score: Callable[[Tensor], Tensor], drift: float, noise: float) -> None:
        """x <- x + drift score(x) + noise z."""
        slope = self.ask(score)
        fresh = noise > 0.0
        row = [1.0, drift, noise] if fresh else [1.0, drift]
        weights = torch.tensor([row], dtype=torch.float64, device=self.x.device)
        draws = [draw_number(LANGEVIN, self.step)] if fresh else []
        numbers = torch.tensor(draws, dtype=torch.int64, device=self.x.device)
        seeds = self.seeds if fresh else self.seeds[:0]
        self.x = ops.affine([self.x, slope], weights, seeds, self.first_index, numbers)[0]
        self.step += 1
        if self.every is not None and self.step % self.every == 0:
            self.frames.append(self.x.clone())

    def done(self) -> Chains:
        """The chains. Raises NonFiniteError naming the first one that is not finite."""
        fine = self.x.isfinite().flatten(1).all(1) if self.x.dim() > 1 else self.x.isfinite()
        if not bool(fine.all()):
            first = int((~fine).nonzero()[0])
            raise NonFiniteError(
                f"chain {first} is not finite after {self.step} steps; a step below "
                f"2 over the largest curvature of -log p keeps it from running away"
            )
        return Chains(self.x, self.seed, torch.stack(self.frames) if self.frames else None, self.calls)


def langevin(
    score: Callable[[Tensor], Tensor],
    x: Tensor,
    *,
    step: float,
    steps: int,
    temperature: float = 1.0,
    energy: bool = False,
    seed: Seed | None = None,
    first_index: int = 0,
    callback: Callable[[int, Tensor], None] | None = None,
    every: int | None = None,
) -> Chains:
    """Unadjusted Langevin dynamics with a fixed score.

        x <- x + a score(x) + sqrt(2 a temperature) z,   a = step

    score: x (B, *event) -> grad log p(x), of x's shape, and leaves x as it is; with energy=True an energy E (B,) or
    (B, 1), score = -dE/dx by autograd. x: where the chains start, any float dtype and device. steps: how many.
    temperature: 1 samples p, up to an error of order a: N(0, v) ends at the variance v / (1 - a / 2v); T samples
    p^(1 / T); 0 is the gradient flow by Euler's method, and draws nothing.
    seed, first_index: as in `sample`; chain i is a function of (seed, first_index + i) and its start, whatever the
    batch around it. callback: called with (steps done, x). every: keep every so many-th state.
    Raises OptionError for numbers that mean nothing, NetworkError for a score of another shape, NonFiniteError for
    chains that ran away.
    Source: Roberts & Tweedie 1996, Bernoulli 2, section 1.4.
    """
    place = _start(x)
    steps = count("steps", steps)
    walk = _Walk(place, seed, first_index, temperature, every)
    noise = math.sqrt(2.0 * positive("step", step) * temperature)
    asked = _energy(score) if energy else score
    for _ in range(steps):
        walk.move(asked, step, noise)
        if callback is not None:
            callback(walk.step, walk.x)
    return walk.done()


def annealed_langevin(
    net: Callable[[Tensor, Tensor], Tensor],
    sigmas: Sequence[float],
    *,
    shape: Sequence[int] | None = None,
    x: Tensor | None = None,
    epsilon: float = 2e-5,
    steps: int = 100,
    temperature: float = 1.0,
    denoise: bool = True,
    seed: Seed | None = None,
    first_index: int = 0,
    dtype: torch.dtype | None = None,
    device: torch.device | str | None = None,
    callback: Callable[[int, Tensor], None] | None = None,
    every: int | None = None,
) -> Chains:
    """Annealed Langevin dynamics through falling noise levels, with a score for each.

        x <- x + a_i / 2 net(x, sigma_i) + sqrt(a_i temperature) z,   a_i = epsilon (sigma_i / sigma_L)^2,   `steps`
        times a level

    net: (x (B, *event), sigma (B,) of x's dtype) -> the score of the data smoothed by sigma. sigmas: falling, positive.
    shape: of chains that start from N(0, sigma_1^2) (the source's images start uniform); or x: where they start.
    denoise: end with x + sigma_L^2 net(x, sigma_L), one more call.
    The rest as in `langevin`; beware of the half: epsilon is twice its step.
    Raises as `langevin` does.
    Source: Song & Ermon 2019, arXiv:1907.05600, algorithm 1; Jolicoeur-Martineau et al. 2021, arXiv:2009.05475
    (denoise).
    """
    levels = _levels(sigmas)
    steps, epsilon = count("steps", steps), positive("epsilon", epsilon)
    if (shape is None) == (x is None):
        raise OptionError("give shape (batch first) or x to start from, one of the two")
    if x is None:
        assert shape is not None
        place = Place(sizes(shape), float_type(dtype or torch.float32), torch.device(device or "cpu"))
        seed = fresh_seed() if seed is None else seed
        number = torch.tensor([draw_number(PRIOR)], dtype=torch.int64, device=place.device)
        seeds = as_seeds(seed, place.shape[0]).to(place.device)
        x = ops.normal(place.shape, seeds, index(first_index), number, place.dtype) * levels[0]
    walk = _Walk(_start(x), seed, first_index, temperature, every)
    for sigma in levels:
        size = epsilon * (sigma / levels[-1]) ** 2
        for _ in range(steps):
            walk.move(_at(net, sigma), 0.5 * size, math.sqrt(size * temperature))
            if callback is not None:
                callback(walk.step, walk.x)
    if denoise:
        walk.move(_at(net, levels[-1]), levels[-1] ** 2, 0.0)
    return walk.done()


def _at(net: Callable[[Tensor, Tensor], Tensor], sigma: float) -> Callable[[Tensor], Tensor]:
    return lambda x: net(x, x.new_full((x.shape[0],), sigma))


def _energy(energy: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    return lambda x: -gradient(lambda x, _: energy(x), [x], x.new_zeros(x.shape[:1]))


def _start(x: Tensor) -> Tensor:
    if not isinstance(x, Tensor) or x.dim() == 0:
        raise OptionError(f"x is a tensor of chains, the batch first, got {shown(x)}")
    float_type(x.dtype)
    return x.detach()


def _levels(sigmas: Sequence[float]) -> tuple[float, ...]:
    try:
        levels = tuple(float(sigma) for sigma in sigmas)
    except (TypeError, ValueError):
        raise OptionError(f"sigmas is a sequence of numbers, got {shown(sigmas)}") from None
    falling = all(a > b for a, b in pairwise(levels))
    if not levels or not falling or not 0.0 < levels[-1] <= levels[0] < math.inf:
        raise OptionError(f"sigmas must be positive and fall, got {shown(sigmas)}")
    return levels
