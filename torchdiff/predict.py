"""What a network's output means: the Denoiser, and the Prediction that formulas read."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from torchdiff.blocks import Blocks
from torchdiff.errors import IncompatibleError, NetworkError, OptionError
from torchdiff.sde.base import Level, LinearSDE, ScalarSDE

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
        if self.net is None:
            raise OptionError("this denoiser has no network: it can be planned with, not sampled from")
        x = blocks[0]
        # half precision cannot tell apart the times of a fine grid: labels are float32 at least
        like = x if x.dtype.itemsize >= 4 else x.new_empty(0).float()
        output = self.net(*blocks, like.new_full((x.shape[0],), self.label(level)), **self.cond)
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
        if not output.dtype.is_floating_point or output.dtype.itemsize < 2:
            raise NetworkError(f"the network returned dtype {output.dtype} at t = {level.t:g}, expected a floating one")
        if output.device != x.device:
            raise NetworkError(f"the network returned a tensor on {output.device}, its input is on {x.device}")
        return (output.clone() if self.copy else output,)


def wrap(
    net: Callable[..., Any] | None,
    prediction: str,
    time: str | float | Callable[[Level], float] = "t",
    input_scale: str | Callable[[Level], float] | None = None,
    copy: bool = False,
) -> Denoiser:
    """Say once what a network predicts and how it wants its inputs; see Denoiser for the arguments."""
    return Denoiser(net, prediction, time, input_scale, copy)


class Prediction(NamedTuple):
    """What a network says at x: x0, eps, score and velocity, each straight from the output: Forms and tensors alike.

    From x = alpha x0 + sigma eps and output = u x0 + w eps, with d = alpha w - sigma u:
        x0 = (w x - sigma output) / d,   eps = (alpha output - u x) / d
    Weights that are exactly zero are left out, so that an eps network's eps is its output and no sum.
    """

    sde: ScalarSDE
    x: Any
    output: Any
    level: Level
    meaning: tuple[float, float]

    def _read(self, x0: float, eps: float) -> Any:
        """x0 * (prediction of x0) + eps * (prediction of eps)."""
        (u, w), (t, alpha, sigma) = self.meaning, self.level
        det = alpha * w - sigma * u
        if det == 0.0:
            raise IncompatibleError(
                f"this network does not say what was asked at t = {t:g} (alpha = {alpha:g}, sigma = {sigma:g}); "
                f"start where alpha > 0 (t_max) and end where sigma > 0 (t_min), or use a v or flow network"
            )
        return _add(self.x, (x0 * w - eps * u) / det, self.output, (eps * alpha - x0 * sigma) / det)

    @property
    def x0(self) -> Any:
        return self._read(1.0, 0.0)

    @property
    def eps(self) -> Any:
        return self._read(0.0, 1.0)

    @property
    def score(self) -> Any:
        """grad log p = -eps / sigma."""
        if self.level.sigma == 0.0:
            raise IncompatibleError(f"there is no score at t = {self.level.t:g}, where sigma = 0; end above it (t_min)")
        return self._read(0.0, -1.0 / self.level.sigma)

    @property
    def velocity(self) -> Any:
        """dx/dt of the probability flow, alpha' x0 + sigma' eps."""
        return self._read(*self.sde.rates(self.level.t))


class BlockPrediction(NamedTuple):
    """What a network says for an n-block SDE: the score of the last block, the only one that noise drives."""

    sde: LinearSDE
    x: Blocks
    output: Any
    level: Level
    factor: float

    @property
    def score(self) -> Blocks:
        """(0, ..., grad_v log p): the entries that G G^T multiplies by zero are written as zero."""
        return Blocks([*(self.output * 0.0 for _ in self.x[1:]), self.output * self.factor])

    @property
    def velocity(self) -> Blocks:
        """dx/dt of the probability flow, F x - G G^T score / 2."""
        noise = self.sde.noise(self.level.t)
        return self.sde.drift(self.level.t) @ self.x - (noise @ noise.T * 0.5) @ self.score


def reading(sde: LinearSDE, denoiser: Denoiser, level: Level) -> tuple[float, ...]:
    """What the mixed output means at this level: (u, w), or (factor,) for a block SDE."""
    return denoiser.meaning(level) if isinstance(sde, ScalarSDE) else (block_factor(denoiser, level),)


def read(
    sde: LinearSDE, denoiser: Denoiser, x: Any, outputs: tuple[Any, ...], level: Level
) -> Prediction | BlockPrediction:
    """The prediction that a denoiser's outputs make at x."""
    mix = denoiser.mix(level)
    output = outputs[0] * mix[0] if mix[0] != 1.0 else outputs[0]
    for weight, more in zip(mix[1:], outputs[1:], strict=True):
        output = output + more * weight
    if isinstance(sde, ScalarSDE):
        return Prediction(sde, x, output, level, denoiser.meaning(level))
    return BlockPrediction(sde, x, output, level, block_factor(denoiser, level))


def check_prediction(sde: LinearSDE, prediction: str) -> None:
    """IncompatibleError where a prediction has no meaning for this SDE."""
    if sde.blocks > 1 and prediction not in ("eps", "score"):
        raise IncompatibleError(
            f"prediction {prediction!r} has no meaning for {sde!r} with {sde.blocks} blocks; "
            f"its network predicts 'score' (of the last block) or 'eps'"
        )


def block_factor(denoiser: Denoiser, level: Level) -> float:
    """score = factor * output, for the last block of a block SDE."""
    if denoiser.prediction == "score":
        return 1.0
    last = level.sigma[-1][-1]  # the factor is lower triangular, so the last row of its inverse transpose is 1 / last
    if last == 0.0:
        raise IncompatibleError(f"an eps network cannot be read at t = {level.t:g}, where the last block has no noise")
    return -1.0 / last


def _add(x: Any, x_weight: float, output: Any, output_weight: float) -> Any:
    if x_weight == 0.0:
        return output if output_weight == 1.0 else output * output_weight
    if output_weight == 0.0:
        return x * x_weight
    return x * x_weight + output * output_weight
