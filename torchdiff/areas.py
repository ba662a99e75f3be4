"""Levy areas between the Wiener processes of a sample, given their increments and time integrals."""

from __future__ import annotations

import torch
from torch import Tensor


def pairs(m: int) -> int:
    """How many areas m processes have between them."""
    return m * (m - 1) // 2


def levy_area(w: Tensor, u: Tensor, length: float, z: Tensor) -> Tensor:
    """A (B, m, m), antisymmetric, in the place of the integrals of (W_i dW_j - W_j dW_i) / 2 over an interval.

        A_ij = H_i W_j - W_i H_j + sqrt(h^2 / 20 + h (H_i^2 + H_j^2) / 5) z_ij,   i < j,   H = U / h - W / 2

    Given W and U it has the mean and the variance of the true area, whose law is not normal. It is no function of the
    path: the areas of two halves do not make that of the whole. torchsde's own variances are others: 0.22 h^2
    (`foster`, with h^2 / 50) and 0.33 h^2 (`davie`), where the area of two Wiener processes has h^2 / 4.
    w, u:   (B, m), W(end) - W(start) and the integral of W - W(start) over the interval. length: h > 0.
    z:      (B, pairs(m)) standard normals, row after row of the upper triangle.
    Source: Davie 2014, KMT theory applied to approximations of SDE, for the mean; Foster, Lyons & Oberhauser 2020,
    arXiv:1904.06998: W - W(start) is a parabola of W and H, and an arch independent of both. Twelve times the arch's
    first moment over h has the variance h / 5; h^2 / 20 is what is left of h^2 / 12 for the area of two arches.
    """
    m = w.shape[1]
    i, j = torch.triu_indices(m, m, 1, device=w.device)
    h = u / length - 0.5 * w
    spread = (length * length / 20.0 + length / 5.0 * (h[:, i].square() + h[:, j].square())).sqrt()
    upper = h[:, i] * w[:, j] - w[:, i] * h[:, j] + spread * z
    area = w.new_zeros((w.shape[0], m, m))
    area[:, i, j], area[:, j, i] = upper, -upper
    return area
