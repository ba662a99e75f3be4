"""The user's own noise levels, as times."""

from __future__ import annotations

import math
from collections.abc import Iterable
from itertools import pairwise

from torchdiff.errors import IncompatibleError, OptionError, shown
from torchdiff.sde.base import LinearSDE, ScalarSDE


def times_of(sde: LinearSDE, sigmas: Iterable[float]) -> tuple[tuple[float, ...], bool]:
    """The times at which sigma / alpha has these values, and whether a last 0, the data, was left out of them.

    Each is the float whose level comes nearest to the value: on `edm`, whose t is sigma, the value bit for bit. inf is
    alpha = 0. A 0 at the end of falling values is for the denoising step, as `ve` has noise at every time.
    Raises OptionError, with the index, for a value that is no number or that no time of the SDE has, for two that do
    not go on rising or falling, and for fewer than two above 0; IncompatibleError for block SDEs.
    """
    if not isinstance(sde, ScalarSDE):
        raise IncompatibleError(
            f"sigmas are values of sigma / alpha, {sde!r} has {sde.blocks} blocks and no such number; give times"
        )
    try:
        values = tuple(float(sigma) for sigma in sigmas)
    except (TypeError, ValueError):
        raise OptionError(f"sigmas are a sequence of numbers, got {shown(sigmas)}") from None
    rising = len(values) > 1 and values[0] < values[1]
    for i, (a, b) in enumerate(pairwise(values)):
        if not (a < b if rising else b < a):
            raise OptionError(
                f"sigmas must rise or fall all the way, but sigmas[{i}] = {a!r} and sigmas[{i + 1}] = {b!r}"
            )
    clean = not rising and values[-1:] == (0.0,)
    values = values[:-1] if clean else values
    if len(values) < 2:
        raise OptionError(f"sigmas are two values above 0 at least, got {len(values)}; times may end at t = 0")
    return tuple(_time(sde, i, value) for i, value in enumerate(values)), clean


def _time(sde: ScalarSDE, i: int, value: float) -> float:
    least, most = _ratio(sde, 0.0), _ratio(sde, sde.t_max)
    if value in (least, most):  # an end may be 0 or inf, which has no logarithm
        return 0.0 if value == least else sde.t_max
    try:
        if not 0.0 < value < math.inf:
            raise OptionError(f"{value!r} has no logarithm")
        t = sde.at(-math.log(value)).t
    except OptionError:
        raise OptionError(
            f"sigmas[{i}] = {value!r} is no sigma / alpha of {sde!r}, which has {least!r} at t = 0 to {most!r} at "
            f"t = {sde.t_max:g}; clip it, or give the process that the network was trained on"
        ) from None
    return _nearest(sde, t, value)


def _nearest(sde: ScalarSDE, t: float, value: float) -> float:
    """From the time that `at` found, ulp by ulp as long as sigma / alpha comes nearer to the value."""
    missed = abs(_ratio(sde, t) - value)
    toward = sde.t_max if _ratio(sde, t) < value else 0.0
    for _ in range(16):  # the logarithm of a sigma from 1e-7 to 1e7 is rounded by 8 of its ulp
        step = math.nextafter(t, toward)
        left = abs(_ratio(sde, step) - value)
        if not left < missed:
            break
        t, missed = step, left
    return t


def _ratio(sde: ScalarSDE, t: float) -> float:
    level = sde.level(t)
    return level.sigma / level.alpha if level.alpha > 0.0 else math.inf
