"""What families of one-block solvers share: no noise at all, or eta of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torchdiff.sde.base import LinearSDE, ScalarSDE
from torchdiff.solvers.base import AffineSolver
from torchdiff.solvers.exponential import check_amount


@dataclass(frozen=True)
class Noiseless(AffineSolver):
    """A formula on one alpha and one sigma that draws nothing."""

    accepts: ClassVar[type[LinearSDE]] = ScalarSDE

    @property
    def deterministic(self) -> bool:
        return True


@dataclass(frozen=True)
class WithEta(AffineSolver):
    """A formula on one alpha and one sigma whose noise eta measures, by the family's own scale: 0 draws nothing."""

    eta: float = 1.0
    accepts: ClassVar[type[LinearSDE]] = ScalarSDE

    def __post_init__(self) -> None:
        check_amount(type(self).__name__, "eta", self.eta)

    @property
    def deterministic(self) -> bool:
        return self.eta == 0.0
