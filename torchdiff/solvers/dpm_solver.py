"""DPM-Solver: exponential integrators in log-SNR on the noise prediction; single steps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from torchdiff.registry import SOLVERS
from torchdiff.solvers.base import Noise, Predict, Span
from torchdiff.solvers.exponential import between, noise_step
from torchdiff.solvers.scalar import Noiseless


@dataclass(frozen=True)
class _SingleStep(Noiseless):
    """The weights of every stage integrate the polynomial through eps at cur and at the last stage exactly."""

    weak_order: ClassVar[float] = 1.0
    fractions: ClassVar[tuple[float, ...]] = ()

    def step(self, x: Any, span: Span, predict: Predict, noise: Noise) -> Any:
        cur = span.cur
        nodes = [(cur, predict(x, cur).eps)]
        for fraction in self.fractions:
            level = between(span, fraction)
            nodes = [nodes[0], (level, predict(noise_step(x, cur, level, nodes), level).eps)]
        return noise_step(x, cur, span.nxt, nodes)


@SOLVERS.register("dpm_solver_1")
@dataclass(frozen=True)
class DPMSolver1(_SingleStep):
    """DPM-Solver-1, which is DDIM: x_nxt = alpha_nxt / alpha_cur x - sigma_nxt (e^h - 1) eps.

    Source: Lu et al. 2022, arXiv:2206.00927, eq. 3.7.
    """


@SOLVERS.register("dpm_solver_2")
@dataclass(frozen=True)
class DPMSolver2(_SingleStep):
    """DPM-Solver-2: second order, two network calls a step, the second in the middle in log-SNR.

        u = alpha_m / alpha_cur x - sigma_m (e^{h / 2} - 1) eps(x)
        x_nxt = alpha_nxt / alpha_cur x - sigma_nxt (e^h - 1) eps(u)

    Source: Lu et al. 2022, arXiv:2206.00927, algorithm 1 (r_1 = 1/2).
    """

    weak_order: ClassVar[float] = 2.0
    calls: ClassVar[int] = 2
    fractions: ClassVar[tuple[float, ...]] = (0.5,)

    def step(self, x: Any, span: Span, predict: Predict, noise: Noise) -> Any:
        cur, middle = span.cur, between(span, 0.5)
        point = noise_step(x, cur, middle, [(cur, predict(x, cur).eps)])
        return noise_step(x, cur, span.nxt, [(middle, predict(point, middle).eps)])


@SOLVERS.register("dpm_solver_3")
@dataclass(frozen=True)
class DPMSolver3(_SingleStep):
    """DPM-Solver-3: third order, three network calls a step, at 0, 1/3 and 2/3 of the way in log-SNR.

    Source: Lu et al. 2022, arXiv:2206.00927, algorithm 2 (r_1 = 1/3, r_2 = 2/3).
    """

    weak_order: ClassVar[float] = 3.0
    calls: ClassVar[int] = 3
    fractions: ClassVar[tuple[float, ...]] = (1.0 / 3.0, 2.0 / 3.0)
