"""What methods and reversals need of the derivatives of a diffusion g(x, t): by torch's forward mode, or as given."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from torchdiff.errors import IncompatibleError
from torchdiff.general import SDE, derivative, diffusion, over, rows
from torchdiff.noise import normal


def along(field: Callable[[Tensor], Tensor], x: Tensor, direction: Tensor) -> Tensor:
    """sum_k d field / dx_k direction_k, for fields that act on each sample alone."""
    try:
        return torch.func.jvp(field, (x,), (direction,))[1]
    except (NotImplementedError, RuntimeError) as error:
        raise IncompatibleError(
            f"torch cannot derive the diffusion in forward mode: {str(error).splitlines()[0]}; give the SDE a g_prime"
        ) from error


def own(field: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """d field_i / dx_i for a field of x's shape, (B, *event).

    Where field_i depends on x_i alone, one derivative along (1, 1, ...) has them all; that it does is seen from a
    second one along signs. Elsewhere one for each coordinate.
    """
    total = along(field, x, torch.ones_like(x))
    if x[0:1].numel() <= 1 or _alone(field, x, torch.ones_like(x), total):
        return total
    flat = torch.zeros_like(rows(x))
    columns = []
    for i in range(flat.shape[1]):
        axis = flat.clone()
        axis[:, i] = 1.0
        columns.append(along(field, x, axis.reshape(x.shape)).reshape(flat.shape)[:, i])
    return torch.stack(columns, dim=1).reshape(x.shape)


def jacobian(sde: SDE, x: Tensor, t: float) -> Tensor:
    """dg_ij / dx_k of matrix noise, (B, d, m, d): as given, or by one derivative for each k."""
    if sde.g_prime is not None:
        return derivative(sde, x, t)
    flat = torch.zeros_like(rows(x))
    columns = []
    for k in range(flat.shape[1]):
        axis = flat.clone()
        axis[:, k] = 1.0
        columns.append(along(lambda y: diffusion(sde, y, t), x, axis.reshape(x.shape)))
    return torch.stack(columns, dim=3)


def milstein_term(sde: SDE, x: Tensor, t: float, g: Tensor, dw: Tensor, length: float, check: bool) -> Tensor:
    """sum_jk (g_j . grad) g_k (dW_j dW_k - delta_jk length) / 2, of x's shape; length is E dW^2.

    check: look whether the noise is commutative, (g_j . grad) g_k = (g_k . grad) g_j, without which this is not
    Milstein's method but an error of the order of Euler-Maruyama's. Raises IncompatibleError if it is not.
    """
    if sde.kind == "matrix":
        change = _product(jacobian(sde, x, t), g)  # (B, d, k, j): (g_j . grad) g_k
        if check and g.shape[2] > 1 and not close(change, change.transpose(2, 3)):
            raise _not_commutative(t, "the columns of g do not commute")
        square = dw.unsqueeze(1) * dw.unsqueeze(2) - length * torch.eye(g.shape[2], dtype=x.dtype, device=x.device)
        return 0.5 * (change * square.unsqueeze(1)).sum((2, 3)).reshape(x.shape)
    if sde.g_prime is not None:
        change = derivative(sde, x, t) * g
    else:
        change = along(lambda y: diffusion(sde, y, t), x, g)
        if check and sde.kind == "diagonal" and not _alone(lambda y: diffusion(sde, y, t), x, g, change):
            raise _not_commutative(t, "a coordinate of g depends on other coordinates of x")
    square = dw * dw - length
    return 0.5 * change * (over(square, x) if sde.kind == "scalar" else square)


def ito_term(sde: SDE, x: Tensor, t: float, g: Tensor) -> Tensor:
    """sum_j (g_j . grad) g_j, of x's shape: half of it less in the drift makes an Ito equation Stratonovich's."""
    if sde.kind == "matrix":
        return _product(jacobian(sde, x, t), g).diagonal(dim1=2, dim2=3).sum(2).reshape(x.shape)
    if sde.kind == "scalar" and sde.g_prime is None:
        return along(lambda y: diffusion(sde, y, t), x, g)
    return g * _slope(sde, x, t)


def divergence(sde: SDE, x: Tensor, t: float) -> Tensor:
    """div(g g^T)_i = sum_jk d(g_ik g_jk) / dx_j, of x's shape."""
    g = diffusion(sde, x, t)
    if sde.kind == "matrix":
        slopes = jacobian(sde, x, t)
        own_sum = slopes.diagonal(dim1=1, dim2=3).sum(2)  # (B, m): div g_k
        moved = _product(slopes, g).diagonal(dim1=2, dim2=3).sum(2) + (g * own_sum.unsqueeze(1)).sum(2)
        return moved.reshape(x.shape)
    slope = _slope(sde, x, t)
    if sde.kind == "diagonal":
        return 2.0 * g * slope
    return ito_term(sde, x, t, g) + g * over(rows(slope).sum(1), x)


def close(a: Tensor, b: Tensor) -> bool:
    """Equal but for rounding, at the scale of the sample. A wrong structure leaves a difference of order one."""
    a, b = rows(a), rows(b)
    if a.numel() == 0:
        return True
    scale = torch.maximum(a.abs(), b.abs()).amax(1, keepdim=True)
    return bool(((a - b).abs() <= math.sqrt(torch.finfo(a.dtype).eps) * scale).all())


def _product(slopes: Tensor, g: Tensor) -> Tensor:
    """(B, d, k, j): sum_l dg_ik / dx_l g_lj. Not bmm, whose sums may depend on the batch."""
    total = slopes[..., 0].unsqueeze(3) * g[:, None, None, 0]
    for k in range(1, g.shape[1]):
        total = total + slopes[..., k].unsqueeze(3) * g[:, None, None, k]
    return total


def _slope(sde: SDE, x: Tensor, t: float) -> Tensor:
    return derivative(sde, x, t) if sde.g_prime is not None else own(lambda y: diffusion(sde, y, t), x)


def _alone(field: Callable[[Tensor], Tensor], x: Tensor, direction: Tensor, total: Tensor) -> bool:
    """Whether d field_i / dx_k = 0 for i != k: then signs s leave s_i (derivative along s direction)_i as it was."""
    signs = normal((1, *x.shape[1:]), seed=0, dtype=torch.float32, device=x.device).sign().to(x.dtype)
    return close(signs * along(field, x, signs * direction), total)


def _not_commutative(t: float, why: str) -> IncompatibleError:
    return IncompatibleError(
        f"milstein needs commutative noise, and at t = {t:g} {why}; the way out is euler_maruyama, with more steps"
    )
