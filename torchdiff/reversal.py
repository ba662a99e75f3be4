"""An SDE run backward in time, by the score of its marginals."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from torchdiff import general
from torchdiff.blocks import unpack
from torchdiff.denoiser import Denoiser, clock
from torchdiff.equations import Linear
from torchdiff.errors import IncompatibleError, OptionError, shown
from torchdiff.general import SDE, Field
from torchdiff.jacobians import divergence as derived
from torchdiff.predict import check_prediction, read
from torchdiff.registry import SDES
from torchdiff.sde.base import LinearSDE

Score = Callable[..., Tensor]


@dataclass(frozen=True)
class ReversedSDE(SDE):
    """A general SDE reversed: what `reverse` returns for one. It has the kind and the diffusion of `sde`."""

    sde: SDE
    score: Score
    divergence: Field | None = None
    backward = True

    @property
    def kind(self) -> str:  # pyright: ignore[reportIncompatibleVariableOverride]
        return self.sde.kind

    @property
    def g_prime(self) -> Any:  # pyright: ignore[reportIncompatibleVariableOverride]
        return self.sde.g_prime

    def diffusion(self, x: Tensor, t: float) -> Any:
        return self.sde.diffusion(x, t)

    def drift(self, x: Tensor, t: float) -> Tensor:
        """f - div(g g^T) - g g^T score."""
        g = general.diffusion(self.sde, x, t)
        times = clock(x)
        score = self.score(x, times.new_full(times.shape[:1], t))
        if not isinstance(score, Tensor) or score.shape != x.shape or score.dtype != x.dtype:
            got = f"{tuple(score.shape)} {score.dtype}" if isinstance(score, Tensor) else shown(score)
            raise IncompatibleError(f"the score returned {got} at t = {t:g}, expected {tuple(x.shape)} {x.dtype}")
        if self.sde.kind == "diagonal":
            pull = g * g * score
        elif self.sde.kind == "scalar":
            pull = g * general.over(general.rows(g * score).sum(1), x)
        else:
            pull = general.spread(self.sde, g, (g * general.rows(score).unsqueeze(2)).sum(1), x)
        spread = derived(self.sde, x, t) if self.divergence is None else _given(self.divergence, x, t)
        return general.drift(self.sde, x, t) - spread - pull


class ReversedLinear(Linear):
    """A LinearSDE reversed: what `reverse` returns for one. Its noise does not depend on x and has no divergence."""

    backward = True

    def __init__(self, sde: LinearSDE, score: Denoiser) -> None:
        super().__init__(sde)
        self.score = score

    def drift(self, x: Any, t: float) -> Any:
        """F x - G G^T score."""
        level, noise = self.sde.level(t), self.sde.noise(t)
        scale = self.score.scale(level)
        fed = [block * scale if scale != 1.0 else block for block in unpack(x)]
        outputs = tuple(output.to(fed[0].dtype) for output in self.score(*fed, level))
        return self.sde.drift(t) @ x - (noise @ noise.T) @ read(self.sde, self.score, x, outputs, level).score


def reverse(
    sde: SDE | LinearSDE | str, score: Score | Denoiser, divergence: Field | None = None
) -> ReversedSDE | ReversedLinear:
    """The SDE that runs from noise to data, by the score of the marginals: `simulate` it with falling times.

        dX = (f - div(g g^T) - g g^T score) dt + g dW,   dt < 0;   score = grad log p_t

    sde:        a general SDE; or a LinearSDE, or the name of one.
    score:      called score(x, t), x (B, *event), t (B,) as any network is; returns x's shape. For a LinearSDE of n
                blocks score(x, v, t), that of the last block; or a torchdiff.wrap of a network that predicts eps, v, x0
    divergence: (x, t) -> div(g g^T), of x's shape, t a float: (sum_jk d(g_ik g_jk) / dx_j)_i. None lets torch derive
                it (forward mode; one or two derivatives where g_i depends on x_i alone, else one a coordinate), or
                takes the SDE's g_prime. It is zero where g does not depend on x, as for every LinearSDE.
    Raises OptionError or IncompatibleError saying what came and what was expected.
    Source: Anderson 1982, Stochastic Processes and their Applications 12, 313; Song et al. 2021, arXiv:2011.13456,
    appendix A, eqs. 15 and 16.
    """
    if not callable(score):
        raise OptionError(f"score is a function of x and t, or a torchdiff.wrap, got {shown(score)}")
    if isinstance(sde, SDE):
        if sde.backward:
            raise OptionError(f"{shown(sde)} is reversed already; reverse the SDE that it was made from")
        if hasattr(score, "meaning"):
            raise IncompatibleError("a wrap says what a network predicts on a LinearSDE; give the score as a function")
        if divergence is not None and not callable(divergence):
            raise OptionError(f"divergence is a function of x and t, got {shown(divergence)}")
        general.check_kind(sde)
        return ReversedSDE(sde, score, divergence)  # pyright: ignore[reportArgumentType]
    linear = SDES.get(sde)
    if divergence is not None:
        raise OptionError(f"the noise of {linear!r} does not depend on x: its divergence is zero, leave it out")
    denoiser: Any = score if hasattr(score, "meaning") else Denoiser(score, "score")  # a wrap, or a guidance of one
    check_prediction(linear, denoiser.prediction)
    return ReversedLinear(linear, denoiser)


def _given(divergence: Field, x: Tensor, t: float) -> Tensor:
    return general.checked("divergence", divergence(x, t), x, t)
