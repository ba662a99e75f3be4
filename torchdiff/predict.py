"""What a network says at x: the Prediction that formulas read."""

from __future__ import annotations

from typing import Any, NamedTuple

from torchdiff.blocks import pack, unpack
from torchdiff.conventions import CONVENTIONS, Convention
from torchdiff.denoiser import Denoiser
from torchdiff.errors import IncompatibleError
from torchdiff.sde.base import Level, LinearSDE, ScalarSDE


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
    told: tuple[Any, ...] = ()  # what the network says beside the prediction

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

    @property
    def variance(self) -> Any:
        """What the network says of the variance of a step, as it says it (v of Nichol & Dhariwal 2021)."""
        if len(self.told) != 1:
            raise IncompatibleError(
                "this step needs a network that tells its variance: one that returns twice the channels, wrapped with "
                "variance=True; for other networks use variance=fixed_small or fixed_large"
            )
        return self.told[0]


class BlockPrediction(NamedTuple):
    """What a network says for an SDE given by matrices: the score of the last block, the only one that noise drives.

    score of the last block = own * last block + factor * output, (own, factor) = meaning.
    """

    sde: LinearSDE
    x: Any
    output: Any
    level: Level
    meaning: tuple[float, float]

    @property
    def score(self) -> Any:
        """(0, ..., grad_v log p): the entries that G G^T multiplies by zero are written as zero."""
        (own, factor), blocks = self.meaning, unpack(self.x)
        last = self.output * factor
        return pack([*(self.output * 0.0 for _ in blocks[1:]), last if own == 0.0 else blocks[-1] * own + last])

    @property
    def velocity(self) -> Any:
        """dx/dt of the probability flow, F x - G G^T score / 2."""
        noise = self.sde.noise(self.level.t)
        return self.sde.drift(self.level.t) @ self.x - (noise @ noise.T * 0.5) @ self.score


def read(
    sde: LinearSDE, denoiser: Denoiser, x: Any, outputs: tuple[Any, ...], level: Level
) -> Prediction | BlockPrediction:
    """The prediction that a denoiser's outputs make at x; outputs beyond those that it mixes are told beside it."""
    mix = denoiser.mix(level)
    output = outputs[0] * mix[0] if mix[0] != 1.0 else outputs[0]
    for weight, more in zip(mix[1:], outputs[1 : len(mix)], strict=True):
        output = output + more * weight
    return reading(sde, denoiser, x, output, level, outputs[len(mix) :])


def reading(
    sde: LinearSDE, denoiser: Denoiser, x: Any, output: Any, level: Level, told: tuple[Any, ...] = ()
) -> Prediction | BlockPrediction:
    """The prediction that outputs mixed to one make at x."""
    meaning = denoiser.meaning(level)
    if isinstance(sde, ScalarSDE):
        return Prediction(sde, x, output, level, meaning, told)
    return BlockPrediction(sde, x, output, level, meaning)


def check_prediction(sde: LinearSDE, prediction: str | Convention) -> None:
    """IncompatibleError where a prediction has no meaning for this SDE."""
    convention = CONVENTIONS.get(prediction)
    needed = "meaning" if isinstance(sde, ScalarSDE) else "block"
    if getattr(type(convention), needed) is getattr(Convention, needed):
        known = (
            "'eps' or 'v', say"
            if isinstance(sde, ScalarSDE)
            else "'score' (of the last block), 'eps', 'energy' or 'mixed_score'"
        )
        raise IncompatibleError(
            f"prediction {CONVENTIONS.label(convention)!r} has no meaning for {sde!r} with {sde.blocks} block(s); "
            f"its network predicts {known}"
        )


def _add(x: Any, x_weight: float, output: Any, output_weight: float) -> Any:
    if x_weight == 0.0:
        return output if output_weight == 1.0 else output * output_weight
    if output_weight == 0.0:
        return x * x_weight
    return x * x_weight + output * output_weight
