"""The black box on the probability flow: Runge-Kutta with an error control of its own."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

from torchdiff.errors import OptionError
from torchdiff.registry import SOLVERS
from torchdiff.solvers.base import Noise, Predict, Solver, Span

LEAST = 100.0 * 2.0**-52  # the smallest rtol: below it the rounding of float64 is taken for an error of the method


@SOLVERS.register("rk45")
@dataclass(frozen=True)
class RK45(Solver):
    """Dormand-Prince 5(4) on the probability flow, steps by error control: the black box, best with steps=1.

        dx/dt = F x - G G^T score / 2,   error per step: rms of error / (atol + rtol max(|x|, |x_nxt|)) < 1

    Each interval of the grid is solved for by itself, with as many steps as the tolerances ask for, so that the number
    of network calls is known after the run alone (Samples.calls), and `calls=N` cannot be asked for. Each sample has
    its own error, times and steps: it does not depend on its batch, and is what SciPy's solve_ivp with method RK45
    makes of it alone. A network call serves the whole batch, each sample at its own time; samples that have arrived
    stay in it, unread, so that conditions keep their rows. Coefficients cost 8 us a sample and call on the CPU. Sums,
    and the state between calls, are float64 whatever the dtype of the samples; the network gets that dtype.
    One-block SDEs use the velocity alpha' x0 + sigma' eps. Runs from data to noise too.
    Raises OptionError for rtol outside [2.3e-14, 1) and atol that is not positive; StepSizeError where the flow of a
    sample is singular; IncompatibleError where it is infinite at an end of the interval (VP at t = 0, say).
    Source: Song et al. 2021, arXiv:2011.13456, section 4.3 and appendix D.4; Dormand & Prince 1980; control of steps:
    Hairer, Norsett & Wanner 1993, section II.4, as in SciPy.
    """

    rtol: float = 1e-5
    atol: float = 1e-5
    calls: ClassVar[int | None] = None

    def __post_init__(self) -> None:
        if not LEAST <= self.rtol < 1.0:
            raise OptionError(f"rk45: rtol must lie in [{LEAST:.2g}, 1), got {self.rtol!r}")
        if not 0.0 < self.atol < math.inf:
            raise OptionError(f"rk45: atol must be positive, got {self.atol!r}")

    @property
    def deterministic(self) -> bool:
        return True

    def step(self, x: Any, span: Span, predict: Predict, noise: Noise) -> Any:
        from torchdiff.adaptive import flow, integrate  # not above: it loads torch, which a plan needs not

        return integrate(flow(predict, span.sde, span.cur, span.nxt), x, span.cur.t, span.nxt.t, self.rtol, self.atol)
