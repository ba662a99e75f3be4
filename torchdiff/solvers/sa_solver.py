"""SA-Solver: stochastic exponential Adams methods, predictor and corrector on the same noise."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

from torchdiff.errors import OptionError
from torchdiff.registry import SOLVERS
from torchdiff.sde.base import LinearSDE, ScalarSDE
from torchdiff.solvers.base import AffineSolver, Carry, Noise, Predict, Span
from torchdiff.solvers.exponential import check_amount, decay, pull, spread


@SOLVERS.register("sa_solver")
@dataclass(frozen=True)
class SASolver(AffineSolver):
    """SA-Solver: stochastic Adams-Bashforth predictor and Adams-Moulton corrector on the data prediction.

        x_nxt = sigma_nxt / sigma_cur e^{-tau^2 h} x + alpha_nxt int_0^h p e^{-p (h - u)} x0(u) du
                + sigma_nxt sqrt(1 - e^{-2 tau^2 h}) z

    with p = 1 + tau^2 and x0(u) the polynomial through `predictor` predictions, then, once the prediction at nxt is
    known, through `corrector` ones with that first, on the same z. tau scales the noise of the reverse SDE: 0 is the
    probability flow, 1 the reverse SDE. It is tau where t lies in [low, high], 0 elsewhere. corrector = 0 is the
    predictor alone. mode "pec" takes one network call a step; "pece" asks again at the corrected x. With noise the weak
    order is 2 at most. The first steps use the predictions that there are.
    Raises OptionError for a number of predictions outside 1..4 (0..4 for the corrector), tau < 0, another mode.
    Source: Xue et al. 2023, arXiv:2309.05019, algorithm 1, eqs. 14, 17 and 20, without their code's change of order 2.
    """

    predictor: int = 3
    corrector: int = 4
    tau: float = 1.0
    low: float = 0.0
    high: float = math.inf
    mode: str = "pec"
    memory: ClassVar[int] = 4
    accepts: ClassVar[type[LinearSDE]] = ScalarSDE

    def __post_init__(self) -> None:
        for name, least in (("predictor", 1), ("corrector", 0)):
            if getattr(self, name) not in range(least, 5):
                raise OptionError(f"sa_solver: {name} is from {least} to 4, got {getattr(self, name)!r}")
        check_amount("sa_solver", "tau", self.tau)
        if self.mode not in ("pec", "pece"):
            raise OptionError(f"sa_solver: mode is 'pec' or 'pece', got {self.mode!r}")

    @property
    def calls(self) -> int:  # type: ignore[override]
        return 2 if self.mode == "pece" and self.corrector else 1

    @property
    def weak_order(self) -> float:  # type: ignore[override]
        # a start with one prediction less than the formula costs an order; the corrector gives that one back
        reached = max(min(self.predictor, 2), min(self.predictor + 1, self.corrector, 3))
        return float(reached if self.tau == 0.0 else min(reached, 2))

    @property
    def deterministic(self) -> bool:
        return self.tau == 0.0

    def step(self, x: Any, span: Span, predict: Predict, noise: Noise) -> Any:
        cur, nxt = span.cur, span.nxt
        x0 = predict(x, cur).x0
        past = [(level, m) for level, m, _, _ in span.past]
        if span.past and self.corrector:
            before, _, base, tau2 = span.past[0]
            x = pull(base, before, cur, [(cur, x0), *past][: self.corrector], tau2)
            if self.mode == "pece":
                x0 = predict(x, cur).x0
        tau2 = self.tau**2 if self.low <= cur.t <= self.high else 0.0
        base = decay(cur, nxt, tau2) * x
        if tau2 > 0.0:
            base = base + spread(cur, nxt, tau2) * noise(cur, nxt)
        nodes = [(cur, x0), *past][: self.predictor]
        return Carry(pull(base, cur, nxt, nodes, tau2), (cur, x0, base, tau2))
