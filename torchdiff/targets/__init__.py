"""Data laws whose denoiser is known exactly, under every linear SDE: what is left is the solver's own error."""

from torchdiff.targets.base import Target
from torchdiff.targets.checkerboard import Checkerboard
from torchdiff.targets.curves import Moons, Rings, SwissRoll
from torchdiff.targets.empirical import Digits, Empirical
from torchdiff.targets.mixture import GMM, GMM2D, Gaussian, Mixture

__all__ = [
    "GMM",
    "GMM2D",
    "Checkerboard",
    "Digits",
    "Empirical",
    "Gaussian",
    "Mixture",
    "Moons",
    "Rings",
    "SwissRoll",
    "Target",
]
