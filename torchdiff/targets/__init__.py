"""Data laws whose denoiser is known exactly, under every linear SDE: what is left is the solver's own error."""

from torchdiff.targets.base import Target
from torchdiff.targets.mixture import GMM2D

__all__ = ["GMM2D", "Target"]
