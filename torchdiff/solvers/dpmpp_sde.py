"""SDE-DPM-Solver++: exponential integrators in log-SNR on the data prediction, with noise."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar

from torchdiff.errors import OptionError
from torchdiff.registry import SOLVERS
from torchdiff.sde.base import Level
from torchdiff.solvers.base import Carry, Noise, Predict, Span
from torchdiff.solvers.exponential import (
    Node,
    bend,
    check_compat,
    check_start,
    check_variant,
    data_step,
    halved_step,
    midway,
    rise,
    spread,
)
from torchdiff.solvers.multistep import begins, most_calls, reached, stages, used
from torchdiff.solvers.scalar import WithEta


@dataclass(frozen=True)
class _Stochastic(WithEta):
    """eta of the family: the noise of the reverse SDE times sqrt(eta); 0 is the probability flow, 1 the reverse SDE."""

    def refresh(self, x: Any, span: Span, noise: Noise) -> Any:
        """x with the noise of the step."""
        return x if self.eta == 0.0 else x + spread(span.cur, span.nxt, self.eta) * noise(span.cur, span.nxt)


@dataclass(frozen=True)
class _Multistep(_Stochastic):
    """What the methods with a past share: a start, an end, and a mean to which the noise of the step is added."""

    start: str = "lower"
    lower_final: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        check_start(type(self).__name__, self.start)

    @property
    def calls(self) -> int:  # type: ignore[override]
        return most_calls(self.memory + 1, self.start)

    @property
    def draws(self) -> int:
        return (self.eta > 0.0) * (2 if self.start == "single" else 1)

    def step(self, x: Any, span: Span, predict: Predict, noise: Noise) -> Any:
        if begins(span, self.start):
            moved, x0 = stages(x, span, predict, noise, self.eta, (0.5,))
            return Carry(moved, (span.cur, x0))
        x0 = predict(x, span.cur).x0
        nodes = [(span.cur, x0), *span.past][: used(self.memory + 1, span, self.lower_final)]
        return Carry(self.refresh(self.mean(x, span.cur, span.nxt, nodes), span, noise), (span.cur, x0))

    @abstractmethod
    def mean(self, x: Any, cur: Level, nxt: Level, nodes: list[Node]) -> Any:
        """x at nxt without its noise, from the predictions at cur and before."""


@SOLVERS.register("dpmpp_1_sde")
@dataclass(frozen=True)
class DPMpp1SDE(_Stochastic):
    """SDE-DPM-Solver++(1): exponential Euler on the reverse SDE.

        x_nxt = sigma_nxt / sigma_cur e^{-eta h} x + alpha_nxt (1 - e^{-(1 + eta) h}) x0
                + sigma_nxt sqrt(1 - e^{-2 eta h}) z

    eta = 1 is DDPM's step. Its eta multiplies the squared noise, as k-diffusion's: DDIM's eta is (with e for this one)
    sqrt((1 - e^{-2 e h}) / (1 - e^{-2h})).
    Source: Lu et al. 2022, arXiv:2211.01095, eq. 18; eta as in k-diffusion.
    """

    weak_order: ClassVar[float] = 1.0

    def step(self, x: Any, span: Span, predict: Predict, noise: Noise) -> Any:
        x0 = predict(x, span.cur).x0
        return self.refresh(data_step(x, span.cur, span.nxt, [(span.cur, x0)], self.eta), span, noise)


@SOLVERS.register("dpmpp_2m_sde")
@dataclass(frozen=True)
class DPMpp2MSDE(_Multistep):
    """SDE-DPM-Solver++(2M): weak order 2 with one network call a step.

        the mean of dpmpp_1_sde with d for x0,   d = x0 + (x0 - x0_old) / (2r),   r = h_old / h     "midpoint"

    variant "taylor" integrates the line through the two predictions exactly.
    start: the first step is dpmpp_1_sde's ("lower") or seeds_2's, with one more call ("single"). lower_final: so is the
    last one.
    Raises OptionError for eta < 0, another variant and another start.
    Source: Lu et al. 2022, arXiv:2211.01095, eq. 19.
    """

    variant: str = "midpoint"
    weak_order: ClassVar[float] = 2.0
    memory: ClassVar[int] = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        check_variant("dpmpp_2m_sde", self.variant)

    def mean(self, x: Any, cur: Level, nxt: Level, nodes: list[Node]) -> Any:
        if len(nodes) > 1 and self.variant == "midpoint":
            nodes = midway(cur, nxt, nodes)
        return data_step(x, cur, nxt, nodes, self.eta)


@SOLVERS.register("dpmpp_3m_sde")
@dataclass(frozen=True)
class DPMpp3MSDE(_Multistep):
    """SDE-DPM-Solver++(3M): exponential Adams-Bashforth of three predictions, one network call a step.

    Weak order 2 where there is noise, whatever the number of predictions; without noise it is dpmpp_3m. start and
    lower_final as in dpmpp_2m_sde. compat: "k_diffusion" halves the second divided difference, as its code does;
    "diffusers" halves it, has - 1/2 where + 1/2 belongs in its weight, which is of order 1, takes two predictions by
    the midpoint, and has eta = 1.
    Raises OptionError for eta < 0, another start or compat, and for compat "diffusers" with another eta.
    Source: Lu et al. 2022, arXiv:2211.01095, with the second divided difference doubled; k-diffusion's 3m_sde.
    """

    compat: str | None = None
    memory: ClassVar[int] = 2

    def __post_init__(self) -> None:
        super().__post_init__()
        check_compat("dpmpp_3m_sde", self.compat)
        if self.compat == "diffusers" and self.eta != 1.0:
            raise OptionError(f"dpmpp_3m_sde: diffusers has eta = 1 only, got {self.eta!r}; compat=k_diffusion has any")

    @property
    def weak_order(self) -> float:  # type: ignore[override]
        if self.compat is not None:
            return 1.0 if self.compat == "diffusers" else 2.0
        return reached(3, self.start, self.lower_final) if self.eta == 0.0 else 2.0

    def mean(self, x: Any, cur: Level, nxt: Level, nodes: list[Node]) -> Any:
        if len(nodes) < 3 or self.compat is None:
            nodes = midway(cur, nxt, nodes) if self.compat == "diffusers" and len(nodes) == 2 else nodes
            return data_step(x, cur, nxt, nodes, self.eta)
        x = halved_step(x, cur, nxt, nodes, self.eta)
        return x if self.compat == "k_diffusion" else x - nxt.alpha * bend(rise(cur, nxt), cur, nodes)


@SOLVERS.register("seeds_2")
@dataclass(frozen=True)
class SEEDS2(_Stochastic):
    """SEEDS-2 on the data prediction: a single step of weak order 2, two network calls.

    The second prediction is made at the fraction r of the way in log-SNR, after the noise of that part of the interval;
    the noise of the whole is that noise carried on, and that of the rest.
    Raises OptionError for eta < 0 and r outside (0, 1).
    Source: Gonzalez et al. 2023, arXiv:2305.14267, algorithm 2, on the data prediction.
    """

    r: float = 0.5
    weak_order: ClassVar[float] = 2.0
    calls: ClassVar[int] = 2

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0.0 < self.r < 1.0:
            raise OptionError(f"seeds_2: r must lie between 0 and 1, got {self.r!r}")

    @property
    def draws(self) -> int:
        return 2 * (self.eta > 0.0)

    def step(self, x: Any, span: Span, predict: Predict, noise: Noise) -> Any:
        return stages(x, span, predict, noise, self.eta, (self.r,))[0]


@SOLVERS.register("seeds_3")
@dataclass(frozen=True)
class SEEDS3(_Stochastic):
    """SEEDS-3 on the data prediction: three network calls, at 0, 1/3 and 2/3 of the way. Weak order 2 with noise.

    eta = 0 is DPM-Solver++(3S), of order 3.
    Raises OptionError for eta < 0.
    Source: Gonzalez et al. 2023, arXiv:2305.14267, algorithm 3, on the data prediction.
    """

    calls: ClassVar[int] = 3

    @property
    def weak_order(self) -> float:  # type: ignore[override]
        return 3.0 if self.eta == 0.0 else 2.0

    @property
    def draws(self) -> int:
        return 3 * (self.eta > 0.0)

    def step(self, x: Any, span: Span, predict: Predict, noise: Noise) -> Any:
        return stages(x, span, predict, noise, self.eta, (1.0 / 3.0, 2.0 / 3.0))[0]
