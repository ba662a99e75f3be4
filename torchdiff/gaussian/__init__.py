"""What a plan does to Gaussian data with the exact score: mean, covariance, W2 and KL, exactly, without sampling."""

from torchdiff.gaussian.distances import Errors, Split, beginning, end, errors, kl, moments, split, w2
from torchdiff.gaussian.laws import Affine, Gaussian, data, marginal, prior
from torchdiff.gaussian.pushing import path, push, rows

__all__ = [
    "Affine", "Errors", "Gaussian", "Split", "beginning", "data", "end", "errors", "kl", "marginal", "moments", "path",
    "prior", "push", "rows", "split", "w2",
]  # fmt: skip
