"""Conventions of published code: output, time and input scale in one word."""

from __future__ import annotations

import math
from dataclasses import dataclass

from torchdiff.conventions.base import CONVENTIONS, SCALES, TIMES, Convention, last_noise
from torchdiff.conventions.elementary import X0, Eps, Score
from torchdiff.errors import OptionError
from torchdiff.sde.base import Level


@CONVENTIONS.register("edm")
@dataclass(frozen=True)
class EDM(Convention):
    """The raw network F of EDM: D(y; s) = c_skip y + c_out F(c_in y; c_noise), with y = x / alpha, s = sigma / alpha.

        c_skip = d^2 / (s^2 + d^2),  c_out = s d / sqrt(s^2 + d^2),  c_in = 1 / sqrt(s^2 + d^2),  c_noise = log(s) / 4

    d is sigma_data. With r = sqrt(sigma^2 + alpha^2 d^2): F = (sigma / d x0 - alpha d eps) / r, and F gets x / r.
    A network with these factors inside, D(y; s), is "k_diffusion".
    Raises OptionError unless sigma_data > 0.
    Source: Karras et al. 2022, arXiv:2206.00364, eq. 7 and table 1.
    """

    sigma_data: float = 0.5

    def __post_init__(self) -> None:
        if not 0.0 < self.sigma_data < math.inf:
            raise OptionError(f"edm: sigma_data must be positive, got {self.sigma_data!r}")

    def meaning(self, level: Level) -> tuple[float, float]:
        scale = self.scale(level)
        return level.sigma / self.sigma_data * scale, -level.alpha * self.sigma_data * scale

    def label(self, level: Level) -> float:
        return TIMES["c_noise"](level)

    def scale(self, level: Level) -> float:
        return 1.0 / math.hypot(level.sigma, level.alpha * self.sigma_data)


@CONVENTIONS.register("k_diffusion")
@dataclass(frozen=True)
class KDiffusion(X0):
    """A denoiser: net(x / alpha, sigma / alpha) = x0. What k-diffusion samplers call, and EDM's preconditioned D.

    Source: Karras et al. 2022, arXiv:2206.00364, eq. 3.
    """

    def label(self, level: Level) -> float:
        return TIMES["sigma"](level)

    def scale(self, level: Level) -> float:
        return SCALES["data"](level)


@CONVENTIONS.register("ddpm")
@dataclass(frozen=True)
class DDPM(Eps):
    """eps by a table of `count` betas: the network gets the index count t - 1, so that t = 1 / count is index 0.

    Source: Ho et al. 2020, arXiv:2006.11239, section 4, its steps 1 to 1000 counted from 0 as its code does.
    """

    count: int = 1000

    def __post_init__(self) -> None:
        if self.count < 1:
            raise OptionError(f"ddpm: count is the length of the table of betas, got {self.count!r}")

    def label(self, level: Level) -> float:
        return self.count * level.t - 1.0


@CONVENTIONS.register("score_sde")
@dataclass(frozen=True)
class ScoreSDE(Eps):
    """Continuous VP and sub-VP networks of score_sde: score = -net(x, 999 t) / sigma, so the output is eps.

    Source: Song et al. 2021, arXiv:2011.13456, appendix C, and the code that goes with it.
    """

    def label(self, level: Level) -> float:
        return 999.0 * level.t


@CONVENTIONS.register("score_sde_ve")
@dataclass(frozen=True)
class ScoreSDEVE(Score):
    """Continuous VE networks of score_sde: score = net(x, sigma).

    Source: as "score_sde"; the division by sigma is inside these networks.
    """

    def label(self, level: Level) -> float:
        return TIMES["sigma"](level)


@CONVENTIONS.register("flow_matching")
@dataclass(frozen=True)
class FlowMatching(Convention):
    """The velocity from noise to data, data at time 1: net(x, 1 - t) = x0 - eps.

    Source: Lipman et al. 2023, arXiv:2210.02747, eqs. 20 to 23 with sigma_min = 0.
    """

    def meaning(self, level: Level) -> tuple[float, float]:
        return 1.0, -1.0

    def label(self, level: Level) -> float:
        return TIMES["reversed"](level)


@CONVENTIONS.register("mixed_score")
@dataclass(frozen=True)
class MixedScore(Convention):
    """The residual of CLD networks: score_v = -net / sigma[1][1] - v / Svv, Svv the variance of v given the data.

    1 / sigma[1][1] is the paper's l_t. Svv includes the spread of v_0, as the level does.
    Source: Dockhorn et al. 2022, arXiv:2112.07068, section 3.2 and appendix B.2.
    """

    def block(self, level: Level) -> tuple[float, float]:
        last = last_noise(level, "a mixed-score")
        return -1.0 / math.fsum(entry * entry for entry in level.sigma[-1]), -1.0 / last
