"""What torch must know about the ops beside their kernels: shapes for tracing, and the backward of affine."""

from __future__ import annotations

import functools

import torch

from .arguments import check_affine, check_brownian, check_normal


def fake_affine(tensors, weights, seeds, first_index, draws):
    """R outputs in the layout of tensors[0]."""
    check_affine(tensors, weights, seeds, first_index, draws)
    return [torch.empty_like(tensors[0]) for _ in range(weights.shape[-2])]


def fake_normal(shape, seeds, first_index, draw, dtype):
    """One contiguous tensor on the device of the seeds."""
    check_normal(shape, seeds, first_index, draw, dtype)
    return torch.empty(shape, dtype=dtype, device=seeds.device)


def fake_brownian(shape, seeds, first_index, path, times, horizon, integral, dtype):
    """The increments, and the integrals if asked for, on the device of the seeds."""
    check_brownian(shape, seeds, first_index, path, times, horizon, dtype)
    size = (times.shape[0] - 1, *shape)
    return [torch.empty(size, dtype=dtype, device=seeds.device) for _ in range(1 + integral)]


def save_weights(ctx, inputs, output):
    """Keeps the weights, which are all that the backward needs."""
    tensors, weights, seeds, _, draws = inputs
    if weights.requires_grad:
        raise ValueError("affine: weights are not differentiable, and these require grad; detach them")
    ctx.save_for_backward(weights, seeds, draws)
    ctx.dtypes = [t.dtype for t in tensors]


def backward_affine(ctx, grads):
    """grad[j] = sum_r weights[..., r, j] * grads[r]: affine with the transposed weights and no draws.

    Sums run in the widest dtype among the tensors that want a gradient, so that a half-precision tensors[0] does not
    round the gradient of a float32 neighbour.
    """
    weights, seeds, draws = ctx.saved_tensors
    wanted = [j for j, needed in enumerate(ctx.needs_input_grad[0]) if needed]
    present = [r for r, grad in enumerate(grads) if grad is not None]
    result = [None] * len(ctx.dtypes)
    if wanted and present:
        # stack, not an index list: an index would be copied to the device, which a CUDA graph cannot capture.
        rows = torch.stack([weights[..., r, :] for r in present], dim=-1)
        transposed = torch.stack([rows[..., j, :] for j in wanted], dim=-2)
        widest = functools.reduce(torch.promote_types, (ctx.dtypes[j] for j in wanted))
        lead, *others = (grads[r] for r in present)
        none = (seeds.new_empty(0), 0, draws.new_empty(0))
        sums = torch.ops.torchdiff.affine([lead.to(widest), *others], transposed, *none)
        for j, grad in zip(wanted, sums, strict=True):
            result[j] = grad.to(ctx.dtypes[j])
    return result, None, None, None, None


@functools.cache
def register() -> None:
    """Registers all of the above; the ops themselves must exist by now."""
    torch.library.register_fake("torchdiff::affine", fake_affine)
    torch.library.register_fake("torchdiff::normal", fake_normal)
    torch.library.register_fake("torchdiff::brownian", fake_brownian)
    torch.library.register_autograd("torchdiff::affine", backward_affine, setup_context=save_weights)
