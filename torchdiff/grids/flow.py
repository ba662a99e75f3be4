"""Grids made for flows, on the coordinate sigma / (sigma + alpha): the t of the flow with the same log-SNR."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from torchdiff.errors import OptionError
from torchdiff.grids.base import Grid, Spaced, check_positive, scalar
from torchdiff.registry import GRIDS
from torchdiff.sde.base import LinearSDE


@GRIDS.register("shift")
@dataclass(frozen=True)
class Shift(Spaced):
    """Equal steps of flow time u, shifted to shift u / (1 + (shift - 1) u): dense at the noisy end.

        v = sigma / (sigma + shift alpha) in equal steps;   shift v / (1 + (shift - 1) v) = sigma / (sigma + alpha)

    On `flow` from 1 to 0 that is t_i = shift u_i / (1 + (shift - 1) u_i) with u_i = 1 - i / steps; on every other
    one-block SDE, the times with the same sigma / alpha. alpha = 0 and sigma = 0 may be ends. t_max and t_min are
    those after the shift. A shift below 1 is dense at the data end.
    Raises OptionError for shift <= 0; IncompatibleError for block SDEs.
    Source: Esser et al. 2024 (SD3), arXiv:2403.03206, eq. 23, whose root of m / n is the shift (3 for SD3 at 1024^2).
    """

    shift: float = 3.0

    def __post_init__(self) -> None:
        check_positive("shift", shift=self.shift)

    def between(self, sde: LinearSDE, t_max: float, t_min: float) -> Callable[[float], float]:
        return _between("shift", self.shift, sde, t_max, t_min)


@GRIDS.register("resolution_shift")
@dataclass(frozen=True)
class ResolutionShift(Spaced):
    """Grid shift by exp(mu), mu linear in the number of image tokens: the dynamic shift of FLUX and SD3.

        mu = base_shift + (max_shift - base_shift) (tokens - base_tokens) / (max_tokens - base_tokens)

    tokens: patches of the latent image; for FLUX and SD3 a sixteenth of the height times a sixteenth of the width in
    pixels: 1024, 2304, 4096 for 512^2, 768^2, 1024^2. More tokens than max_tokens go on along the line. A shift linear
    in mu (time_shift_type="linear" of diffusers) is `shift:shift=mu`.
    Raises OptionError for tokens that are no positive number, base_tokens = max_tokens and an exp(mu) that overflows;
    IncompatibleError for block SDEs.
    Source: FLUX, get_lin_function and time_shift; diffusers, calculate_shift and use_dynamic_shifting.
    """

    tokens: int = 4096
    base_shift: float = 0.5
    max_shift: float = 1.15
    base_tokens: int = 256
    max_tokens: int = 4096

    def __post_init__(self) -> None:
        check_positive("resolution_shift", tokens=self.tokens, base_tokens=self.base_tokens, max_tokens=self.max_tokens)
        if self.base_tokens == self.max_tokens:
            raise OptionError(f"resolution_shift: base_tokens and max_tokens must differ, both are {self.max_tokens!r}")
        if not abs(self.mu) < 700.0:  # also refuses nan; exp(709) is the largest float
            raise OptionError(f"resolution_shift: a shift of exp({self.mu:g}) is no number; mu is usually 0.5 to 1.15")

    @property
    def mu(self) -> float:
        slope = (self.max_shift - self.base_shift) / (self.max_tokens - self.base_tokens)
        return self.base_shift + slope * (self.tokens - self.base_tokens)

    def between(self, sde: LinearSDE, t_max: float, t_min: float) -> Callable[[float], float]:
        return _between("resolution_shift", math.exp(self.mu), sde, t_max, t_min)


@GRIDS.register("linear_quadratic")
@dataclass(frozen=True)
class LinearQuadratic(Grid):
    """Half of the steps over the first 0.025 of flow time, equal; the rest grow quadratically (Mochi).

        u_i = u_max + (u_min - u_max) x_i,   u = sigma / (sigma + alpha), the t of `flow`
        x_i = threshold i / L                                        for i <= L
        x_i = x_L + (threshold / L) (i - L) + a (i - L)^2            after it, so that x_steps = 1

    L = linear_steps, by default half of the steps, rounded down: the slope does not jump at L. alpha = 0 and sigma = 0
    may be ends. ComfyUI multiplies 1 - x by sigma_max instead, which is the same for flows only.
    Raises OptionError for a threshold outside (0, 1), linear_steps that leave no other step, and both together if x
    would fall; IncompatibleError for block SDEs.
    Source: Genmo's Mochi 1, linear_quadratic_schedule (threshold_noise = 0.025); ComfyUI, scheduler linear_quadratic.
    """

    threshold: float = 0.025
    linear_steps: int | None = None

    def __post_init__(self) -> None:
        if not 0.0 < self.threshold < 1.0:
            raise OptionError(f"linear_quadratic: threshold lies between 0 and 1, got {self.threshold!r}")
        if self.linear_steps is not None and self.linear_steps < 1:
            raise OptionError(f"linear_quadratic: linear_steps is 1 or more, got {self.linear_steps!r}")

    def inside(self, sde: LinearSDE, steps: int, t_max: float, t_min: float) -> Iterable[float]:
        at = _between("linear_quadratic", 1.0, sde, t_max, t_min)
        if steps == 1:
            return
        linear = steps // 2 if self.linear_steps is None else self.linear_steps
        rest = steps - linear
        if rest < 1:
            raise OptionError(
                f"linear_quadratic: linear_steps = {linear} leave none of {steps} steps for the quadratic part"
            )
        slope = self.threshold / linear
        bend = (1.0 - self.threshold - slope * rest) / rest**2
        if slope + 2.0 * bend * rest <= 0.0:
            raise OptionError(
                f"linear_quadratic: {self.threshold:g} of the way in {linear} of {steps} steps are too fast, the rest "
                f"would turn round; take a lower threshold or more linear_steps"
            )
        for i in range(1, steps):
            after = max(i - linear, 0)
            yield at(slope * i + bend * after**2)


def _between(name: str, shift: float, sde: LinearSDE, t_max: float, t_min: float) -> Callable[[float], float]:
    """fraction -> the time at which sigma / (sigma + shift alpha) is that fraction of the way from t_max to t_min."""
    sde = scalar(name, sde)
    # sigma / (sigma + shift alpha) and what is left of it to 1: each keeps its digits where it is the small one
    (noise, data), (noise_end, data_end) = (_shares(sde.sigma(t), shift * sde.alpha(t)) for t in (t_max, t_min))

    def at(fraction: float) -> float:
        more, less = data + (data_end - data) * fraction, noise + (noise_end - noise) * fraction
        return sde.at(math.log(more / less / shift)).t

    return at


def _shares(one: float, other: float) -> tuple[float, float]:
    return one / (one + other), other / (one + other)
