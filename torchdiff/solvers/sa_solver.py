"""SA-Solver: stochastic exponential Adams methods, predictor and corrector on the same noise."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

from torchdiff.errors import OptionError
from torchdiff.registry import SOLVERS
from torchdiff.sde.base import Level, LinearSDE, ScalarSDE
from torchdiff.solvers.base import AffineSolver, Carry, Noise, Predict, Span
from torchdiff.solvers.exponential import Node, check_amount, check_start, decay, moments, pull, rise, spread
from torchdiff.solvers.multistep import begins, check_begin, stages, used


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
    order is 2 at most.
    start: the first steps use the predictions that there are ("lower"), or the first is a second-order single step with
    one more call, seeds_2's, which is not corrected ("single"). lower_final: the last steps use no more predictions
    than steps are left, their corrections one more. compat: "diffusers" has the change of order 2 that the paper's code
    makes: with two predictions, the weight p e^{-p (h - u)} is taken as p where it meets their slope.
    Raises OptionError for a number of predictions outside 1..4 (0..4 for the corrector), tau < 0, another mode, start
    or compat, and a start of one prediction.
    Source: Xue et al. 2023, arXiv:2309.05019, algorithm 1, eqs. 14, 17 and 20.
    """

    predictor: int = 3
    corrector: int = 4
    tau: float = 1.0
    low: float = 0.0
    high: float = math.inf
    mode: str = "pec"
    start: str = "lower"
    lower_final: bool = False
    compat: str | None = None
    accepts: ClassVar[type[LinearSDE]] = ScalarSDE

    def __post_init__(self) -> None:
        for name, least in (("predictor", 1), ("corrector", 0)):
            if getattr(self, name) not in range(least, 5):
                raise OptionError(f"sa_solver: {name} is from {least} to 4, got {getattr(self, name)!r}")
        check_amount("sa_solver", "tau", self.tau)
        if self.mode not in ("pec", "pece"):
            raise OptionError(f"sa_solver: mode is 'pec' or 'pece', got {self.mode!r}")
        check_start("sa_solver", self.start)
        check_begin("sa_solver", self.start, max(self.predictor, self.corrector))
        if self.compat not in (None, "diffusers"):
            raise OptionError(f"sa_solver: compat is 'diffusers' or none, got {self.compat!r}")

    @property
    def memory(self) -> int:  # type: ignore[override]
        return max(self.predictor - 1, self.corrector - 1, min(self.corrector, 1))

    @property
    def calls(self) -> int:  # type: ignore[override]
        return 2 if (self.mode == "pece" and self.corrector) or self.start == "single" else 1

    @property
    def weak_order(self) -> float:  # type: ignore[override]
        # a first step with one prediction has an error of h^2, with two of h^3; a corrector sees one more
        first = 3 if self.start == "single" else 2
        order = max(min(self.predictor, first), min(self.predictor + 1, self.corrector, 3))
        if self.lower_final:
            order = min(order, 2)
        return float(order if self.tau == 0.0 else min(order, 2))

    @property
    def draws(self) -> int:
        return (self.tau > 0.0) * (2 if self.start == "single" else 1)

    @property
    def deterministic(self) -> bool:
        return self.tau == 0.0

    def step(self, x: Any, span: Span, predict: Predict, noise: Noise) -> Any:
        cur, nxt = span.cur, span.nxt
        tau2 = self.tau**2 if self.low <= cur.t <= self.high else 0.0
        if begins(span, self.start):
            moved, x0 = stages(x, span, predict, noise, tau2, (0.5,))
            return Carry(moved, (cur, x0, None, tau2))
        x0 = predict(x, cur).x0
        past = [(level, m) for level, m, _, _ in span.past]
        if span.past and self.corrector and span.past[0][2] is not None:
            before, _, base, old = span.past[0]
            count = min(self.corrector, span.left + 3) if self.lower_final else self.corrector
            x = self.along(base, before, cur, [(cur, x0), *past][:count], old)
            if self.mode == "pece":
                x0 = predict(x, cur).x0
        base = decay(cur, nxt, tau2) * x
        if tau2 > 0.0:
            base = base + spread(cur, nxt, tau2) * noise(cur, nxt)
        nodes = [(cur, x0), *past][: used(self.predictor, span, self.lower_final)]
        return Carry(self.along(base, cur, nxt, nodes, tau2), (cur, x0, base, tau2) if self.memory else None)

    def along(self, x: Any, cur: Level, nxt: Level, nodes: list[Node], tau2: float) -> Any:
        """x and what the polynomial through the nodes adds in the step."""
        x = pull(x, cur, nxt, nodes, tau2)
        if self.compat is None or len(nodes) != 2:
            return x
        (late, m0), (early, m1) = nodes
        h, rate = rise(cur, nxt), 1.0 + tau2
        excess = 0.5 * rate * h * h - h * moments(rate * h, 2)[1]  # int_0^h p u (1 - e^{-p (h - u)}) du
        return x + (nxt.alpha * excess / rise(early, late)) * (m0 - m1)
