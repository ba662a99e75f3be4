"""Forward SDEs: one file a process. Importing this package registers the built-in ones."""

from torchdiff.sde.base import Level, LinearSDE, ScalarSDE
from torchdiff.sde.cld import CLD
from torchdiff.sde.flow import Flow
from torchdiff.sde.ve import VE
from torchdiff.sde.vp import VP

__all__ = ["CLD", "VE", "VP", "Flow", "Level", "LinearSDE", "ScalarSDE"]
