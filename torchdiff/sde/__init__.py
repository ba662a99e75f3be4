"""Forward SDEs: one file a process. Importing this package registers the built-in ones."""

from torchdiff.sde.base import Level, LinearSDE, ScalarSDE
from torchdiff.sde.cld import CLD
from torchdiff.sde.cosine import Cosine
from torchdiff.sde.discrete import DiscreteVP
from torchdiff.sde.edm import EDM
from torchdiff.sde.flow import Flow
from torchdiff.sde.matrix import MatrixSDE
from torchdiff.sde.numeric import BetaSDE, DriftSDE, MarginalSDE
from torchdiff.sde.sub_vp import SubVP
from torchdiff.sde.ve import VE
from torchdiff.sde.vp import VP

__all__ = [
    "CLD", "EDM", "VE", "VP", "BetaSDE", "Cosine", "DiscreteVP", "DriftSDE", "Flow", "Level", "LinearSDE",
    "MarginalSDE", "MatrixSDE", "ScalarSDE", "SubVP",
]  # fmt: skip
