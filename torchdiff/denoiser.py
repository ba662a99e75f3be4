"""The user's network and its meaning."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from torchdiff.errors import IncompatibleError, NetworkError, OptionError
from torchdiff.sde.base import Level

PREDICTIONS = ("eps", "x0", "v", "score", "flow")


def _sigma(level: Level) -> float:
    return math.inf if level.half_log_snr == -math.inf else level.sigma / level.alpha


TIMES: dict[str, Callable[[Level], float]] = {
    "t": lambda level: level.t,
    "sigma": _sigma,
    "log_snr": lambda level: 2.0 * level.half_log_snr,
}


@dataclass(frozen=True)
class Denoiser:
    """A network and its meaning: what it predicts, how it wants time, and by what its input is scaled.

    net:         called `net(x, t, **cond)`, for an n-block SDE `net(x, v, ..., t, **cond)`; x (B, *event), t (B,) of
                 x's dtype, float32 at least; returns one tensor of x's shape and leaves x as it is. None where only
                 a plan is wanted.
    prediction:  what the output is, with x_t = alpha x0 + sigma eps: "eps", "x0", "v" = alpha eps - sigma x0,
                 "flow" = eps - x0, "score" = -eps / sigma. For an n-block SDE "eps" or "score" of the last block.
    time:        what `net` gets as t: "t", "sigma" (sigma / alpha), "log_snr" (2 log alpha / sigma), a number that
                 multiplies t (999 for networks trained on indices), or a function Level -> float.
    input_scale: x is multiplied by it before the call: "unit" (1 / sqrt(alpha^2 + sigma^2), for data of unit variance),
                 a function Level -> float, or None.
    copy:        True for a network that returns the same buffer at each call (CUDA graphs): its output is copied.

    Other denoisers (guidance, clipping) wrap one and have the same methods. Source of "v": Salimans & Ho 2022,
    arXiv:2202.00512, appendix D.
    """

    net: Callable[..., Any] | None
    prediction: str = "eps"
    time: str | float | Callable[[Level], float] = "t"
    input_scale: str | Callable[[Level], float] | None = None
    copy: bool = False
    cond: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.prediction not in PREDICTIONS:
            raise OptionError(f"unknown prediction {self.prediction!r}; one of {', '.join(PREDICTIONS)}")
        if not (callable(self.time) or isinstance(self.time, int | float) or self.time in tuple(TIMES)):
            raise OptionError(f"unknown time {self.time!r}; {', '.join(TIMES)}, a number or a function Level -> float")
        if not (callable(self.input_scale) or self.input_scale in (None, "unit")):
            raise OptionError(f"unknown input_scale {self.input_scale!r}; 'unit', a function of the Level or None")
        if self.net is not None and not callable(self.net):
            raise OptionError(f"a network is called net(x, t), got {type(self.net).__name__}, which cannot be called")

    def bind(self, cond: Mapping[str, Any]) -> Denoiser:
        """The same denoiser with these conditions passed to the network at each call."""
        clash = sorted(set(cond) & set(self.cond))
        if clash:
            raise OptionError(f"condition {clash[0]!r} is given twice: to the denoiser and in cond")
        return replace(self, cond={**self.cond, **cond})

    def meaning(self, level: Level) -> tuple[float, float]:
        """(u, w) with output = u x0 + w eps."""
        match self.prediction:
            case "eps":
                return 0.0, 1.0
            case "x0":
                return 1.0, 0.0
            case "v":
                return -level.sigma, level.alpha
            case "flow":
                return -1.0, 1.0
            case _:
                if level.sigma == 0.0:
                    raise IncompatibleError(f"a score network cannot be read at t = {level.t:g}, where sigma = 0")
                return 0.0, -1.0 / level.sigma

    def mix(self, level: Level) -> tuple[float, ...]:
        """The weights that add the network's outputs up to one (guidance has two)."""
        return (1.0,)

    def scale(self, level: Level) -> float:
        """The input scale at this level."""
        if self.input_scale is None:
            return 1.0
        if isinstance(self.input_scale, str):
            if not level.scalar:
                raise IncompatibleError(f"input_scale 'unit' needs one block, the level at t = {level.t:g} has more")
            return (level.alpha**2 + level.sigma**2) ** -0.5
        return self.input_scale(level)

    def label(self, level: Level) -> float:
        """The time that the network gets at this level. Raises IncompatibleError where it is not finite."""
        if callable(self.time):
            label = float(self.time(level))
        elif isinstance(self.time, str):
            label = TIMES[self.time](level)
        else:
            label = self.time * level.t
        if not math.isfinite(label):
            raise IncompatibleError(
                f"the network's time is {label} at t = {level.t:g}; keep away from there by t_max, t_min"
            )
        return label

    def __call__(self, *blocks_and_level: Any) -> tuple[Any, ...]:
        """The outputs at blocks (B, *event) and a Level. Raises NetworkError for another shape or no tensor."""
        *blocks, level = blocks_and_level
        like = clock(blocks[0])
        return self.ask(blocks, level, like.new_full((like.shape[0],), self.label(level)))

    def ask(self, blocks: Sequence[Any], level: Level, times: Any) -> tuple[Any, ...]:
        """The same with the network's times (B,) at hand: what `label(level)` is, once a sample."""
        if self.net is None:
            raise OptionError("this denoiser has no network: it can be planned with, not sampled from")
        x = blocks[0]
        try:
            output = self.net(*blocks, times, **self.cond)
        except RuntimeError as error:
            other = _other_dtype(self.net, x)
            if other is None:
                raise
            raise NetworkError(
                f"the network failed at t = {level.t:g}: its parameters are {other}, the state is {x.dtype}; "
                f"sample with dtype={other}, or convert one of the two"
            ) from error
        if not hasattr(output, "new_full"):  # duck typing: plans are made without torch
            raise NetworkError(
                f"the network returned {type(output).__name__} at t = {level.t:g}, expected a tensor of shape "
                f"{tuple(x.shape)}; unpack it in a small function around the network"
            )
        if output.shape != x.shape:
            raise NetworkError(
                f"the network returned shape {tuple(output.shape)} at t = {level.t:g}, "
                f"its input has shape {tuple(x.shape)}; both must be the same"
            )
        if (dtype := output.dtype) is not x.dtype and (not dtype.is_floating_point or dtype.itemsize < 2):
            raise NetworkError(f"the network returned dtype {dtype} at t = {level.t:g}, expected a floating one")
        if output.device != x.device:
            raise NetworkError(f"the network returned a tensor on {output.device}, its input is on {x.device}")
        return (output.clone() if self.copy else output,)


def clock(x: Any) -> Any:
    """x, or something on its device, with the dtype of the times that a network gets beside it.

    Half precision cannot tell apart the times of a fine grid: they are float32 at least.
    """
    return x if x.dtype.itemsize >= 4 else x.new_empty(x.shape[:1]).float()


def _other_dtype(net: Any, x: Any) -> Any:
    """The dtype of the network's first parameter if it is not that of x; None if it is, or there is none to ask."""
    first = next(iter(net.parameters()), x) if hasattr(net, "parameters") else x
    return None if first.dtype == x.dtype else first.dtype


def wrap(
    net: Callable[..., Any] | None,
    prediction: str,
    time: str | float | Callable[[Level], float] = "t",
    input_scale: str | Callable[[Level], float] | None = None,
    copy: bool = False,
) -> Denoiser:
    """Say once what a network predicts and how it wants its inputs; see Denoiser for the arguments."""
    return Denoiser(net, prediction, time, input_scale, copy)
