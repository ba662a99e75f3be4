"""torchsde's methods as solvers: the reverse SDE of a LinearSDE, one step of theirs in each interval."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torchdiff.interop.torchsde_methods import METHODS, REMEMBERS, check_method
from torchdiff.registry import SOLVERS
from torchdiff.solvers.base import Carry, Noise, Predict, Solver, Span


@SOLVERS.register("torchsde")
@dataclass(frozen=True)
class TorchSDE(Solver):
    """A method of torchsde on the reverse SDE, driven by our noise. Not affine: it runs on tensors.

        dx = (F x - G G^T score) dt + G dw,   from t_cur down to t_nxt

    method: "euler", "milstein", "srk" (Roessler's SRA1, strong order 1.5 here), "midpoint", "heun", "euler_heun",
    "log_ode" or "reversible_heun". The noise does not depend on x, so Ito and Stratonovich are one, milstein is euler
    and log_ode, without Levy areas, midpoint. Network calls a step: 1 for euler, milstein and euler_heun, and for
    reversible_heun, which remembers its last, after 2 in its first; else 2. With noise="brownian" the increments, and
    for srk the time integrals, are those of the seed's path.
    Raises OptionError for another method, DependencyError without torchsde: pip install torchsde.
    Source: torchsde 0.2.6; Li et al. 2020, arXiv:2001.01328; Roessler 2010, SIAM J. Numer. Anal. 48, 922; Kidger et al.
    2021, arXiv:2105.13493, algorithm 1, for reversible_heun.
    """

    method: str = "srk"

    def __post_init__(self) -> None:
        check_method(self.method)

    @property
    def memory(self) -> int:  # type: ignore[override]
        return int(self.method in REMEMBERS)

    @property
    def opening(self) -> int:  # type: ignore[override]
        return int(self.method in REMEMBERS)

    @property
    def calls(self) -> int:  # type: ignore[override]
        return METHODS[self.method][1]

    @property
    def draws(self) -> None:
        return None  # as many as the method asks its Brownian motion for

    def step(self, x: Any, span: Span, predict: Predict, noise: Noise) -> Any:
        from torchdiff.interop.torchsde_steps import reverse_step  # not above: it loads torch, which a plan needs not

        return Carry(*reverse_step(self.method, x, span, predict, noise, *span.past))
