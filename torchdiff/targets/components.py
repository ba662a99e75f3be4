"""The arithmetic of Gaussian mixtures: draws, posterior means, moments; float64."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor

from torchdiff.errors import OptionError
from torchdiff.targets import cloud


class Components(NamedTuple):
    """weights (K,), their sum 1; means (K, D); the covariances by axes and variances along them.

    variances: (K, D). axes: (K, D, D), columns; None for those of the coordinates. spread: the standard deviation in
    every direction where all are round and alike, the fast case; else None.
    """

    weights: Tensor
    means: Tensor
    variances: Tensor
    axes: Tensor | None
    spread: float | None

    @classmethod
    def of(cls, weights: Any, means: Any, covariances: Any) -> Components:
        """Checked and put into shape; covariances: a variance, or (K,), (K, D) or (K, D, D). Weights are normalised.

        Raises OptionError for shapes that do not fit, values that are not finite, weights that are not positive and
        covariances that are not symmetric and positive definite.
        """
        w, m, c = (torch.as_tensor(value, dtype=torch.float64, device="cpu") for value in (weights, means, covariances))
        if m.dim() != 2 or 0 in m.shape or w.shape != m.shape[:1] or c.shape not in _shapes(m):
            raise OptionError(
                "a mixture has weights (K,), means (K, D), covariances (), (K,), (K, D) or (K, D, D); got "
                f"{tuple(w.shape)}, {tuple(m.shape)}, {tuple(c.shape)}"
            )
        if not all(bool(value.isfinite().all()) for value in (w, m, c)) or not bool((w > 0.0).all()):
            raise OptionError(
                "a mixture has finite means and covariances, and positive weights; drop modes of weight 0"
            )
        w, spread, axes = w / w.sum(), None, None
        if c.dim() == 3:
            if not torch.allclose(c, c.mT, rtol=1e-9, atol=0.0):  # 1e-9: rounding of a user's own products
                raise OptionError("the covariances of a mixture are symmetric; these are not")
            c, axes = torch.linalg.eigh((c + c.mT) / 2.0)
        else:
            spread = math.sqrt(float(c)) if c.dim() == 0 and float(c) > 0.0 else None
            c = (c[:, None] if c.dim() == 1 else c).expand(m.shape)
        if not bool((c > 0.0).all()):
            raise OptionError(
                f"the covariances of a mixture are positive definite, the least eigenvalue here is {c.min().item():g}; "
                "points without spread are target 'empirical'"
            )
        return cls(w, m, c, axes, spread)

    def to(self, device: torch.device) -> Components:
        if self.means.device == device:
            return self
        axes = None if self.axes is None else self.axes.to(device)
        return Components(self.weights.to(device), self.means.to(device), self.variances.to(device), axes, self.spread)

    def draw(self, count: int, seed: Any, first_index: int) -> Tensor:
        k = cloud.choose(self.weights, count, seed, first_index)
        z = cloud.normals(count, self.means.shape[1], seed, first_index, call=1) * self.variances[k].sqrt()
        return self.means[k] + (z if self.axes is None else torch.einsum("bde,be->bd", self.axes[k], z))

    def posterior_mean(self, y: Tensor, sigma: Tensor) -> Tensor:
        here = self.to(y.device)
        if here.spread is not None:
            return cloud.Cloud.of(here.means, here.weights, here.spread).posterior_mean(y, sigma)
        return here._pieces(y, sigma, shift=False)

    def posterior_shift(self, y: Tensor, sigma: Tensor) -> Tensor:
        """posterior_mean - y = -sigma^2 sum_k r_k (C_k + sigma^2)^-1 (y - m_k)."""
        here = self.to(y.device)
        if here.spread is not None:
            return cloud.Cloud.of(here.means, here.weights, here.spread).posterior_shift(y, sigma)
        return here._pieces(y, sigma, shift=True)

    def _pieces(self, y: Tensor, sigma: Tensor, shift: bool) -> Tensor:
        size = max(1, cloud.ROWS // (8 * self.means.numel()))
        parts = []
        for rows, noise in zip(y.split(size), sigma.split(size), strict=True):
            along, variance, logits = self._seen(rows, noise)
            gain = -noise[:, None, None].square() / variance if shift else self.variances / variance
            moved = gain * along
            if self.axes is not None:
                moved = torch.einsum("kde,bke->bkd", self.axes, moved)
            parts.append(torch.einsum("bk,bkd->bd", torch.softmax(logits, 1), moved if shift else self.means + moved))
        return torch.cat(parts) if parts else y.clone()

    def _seen(self, y: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """y - mean along each component's axes (B, K, D), the variances there, and log w_k N(y; ...) + const (B, K)."""
        along = y[:, None, :] - self.means
        if self.axes is not None:
            along = torch.einsum("kde,bkd->bke", self.axes, along)
        variance = self.variances + sigma[:, None, None].square()
        return along, variance, self.weights.log() - 0.5 * (along.square() / variance + variance.log()).sum(2)

    def mode_of(self, x: Tensor) -> Tensor:
        here = self.to(x.device)
        size = max(1, cloud.ROWS // (8 * here.means.numel()))
        found = [here._seen(rows, rows.new_zeros(len(rows)))[2].argmax(1) for rows in x.split(size)]
        return torch.cat(found) if found else torch.zeros(0, dtype=torch.int64, device=x.device)

    def moments(self) -> tuple[Tensor, Tensor]:
        mean = self.weights @ self.means
        away = self.means - mean
        within = self.weights @ self.variances
        if self.axes is None:
            inner = within.diag()
        else:
            inner = torch.einsum("k,kde,ke,kfe->df", self.weights, self.axes, self.variances, self.axes)
        return mean, inner + (away * self.weights[:, None]).T @ away


def placed(dim: int, modes: int, spread: float, decay: float, seed: int) -> tuple[Tensor, Tensor, Tensor]:
    """Weights, means and covariances of target "gmm"."""
    weights = torch.linspace(1.0, 2.0, modes, dtype=torch.float64)
    means = math.sqrt(1.0 - spread * spread) * cloud.normals(modes, dim, seed, 0, call=2)
    axes, upper = torch.linalg.qr(cloud.normals(modes, dim * dim, seed, 0, call=3).view(modes, dim, dim))
    axes = axes * upper.diagonal(dim1=1, dim2=2).sign()[:, None, :]  # the factor that is unique, on any machine
    falling = torch.arange(1, dim + 1, dtype=torch.float64) ** -decay
    variances = spread * spread * falling / falling.mean()
    return weights, means, axes * variances @ axes.mT


def _shapes(means: Tensor) -> list[tuple[int, ...]]:
    count, dim = means.shape
    return [(), (count,), (count, dim), (count, dim, dim)]
