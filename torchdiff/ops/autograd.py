"""What torch must know about the ops beside their kernels: shapes for tracing, and backwards."""

from __future__ import annotations

import functools

import torch

from .arguments import check_affine, check_affine_out, check_brownian, check_normal, check_normal_out, check_norms

_LIBRARY = torch.library.Library("torchdiff", "IMPL")  # its registrations live as long as it does


def fake_affine(tensors, weights, seeds, first_index, draws):
    """R outputs in the layout of tensors[0]."""
    check_affine(tensors, weights, seeds, first_index, draws)
    return [torch.empty_like(tensors[0]) for _ in range(weights.shape[-2])]


def fake_norms(tensors, seeds, first_index, draws):
    """One float64 row a sample, one column a tensor and draw."""
    check_norms(tensors, seeds, first_index, draws)
    return tensors[0].new_empty((tensors[0].shape[0], len(tensors) + draws.numel()), dtype=torch.float64)


def fake_normal(shape, seeds, first_index, draw, dtype):
    """One contiguous tensor on the device of the seeds."""
    check_normal(shape, seeds, first_index, draw, dtype)
    return torch.empty(shape, dtype=dtype, device=seeds.device)


def fake_affine_out(tensors, weights, seeds, first_index, draws, *, out):
    """Nothing comes back; fake tensors have no memory to look at."""
    check_affine_out(tensors, weights, seeds, first_index, draws, out, memory=False)


def fake_normal_out(seeds, first_index, draw, *, out):
    """Nothing comes back."""
    check_normal_out(seeds, first_index, draw, out, memory=False)


def refuse_derivatives(name):
    """The autograd kernel of an op that writes into `out`: it has no derivative, and passes on what needs none."""

    def kernel(*arguments, **out):
        if torch.is_grad_enabled() and torch._C._any_requires_grad(*arguments, **out):
            raise ValueError(
                f"{name.removesuffix('.out')}: out is not differentiable, and an argument requires grad; "
                f"call it without out, or under torch.no_grad()"
            )
        op, overload = name.split(".")
        with torch._C._AutoDispatchBelowAutograd():
            return getattr(getattr(torch.ops.torchdiff, op), overload)(*arguments, **out)

    return kernel


def refuse_mapped_noise(name):
    """The rule of vmap for noise."""

    def rule(info, in_dims, *arguments):
        raise NotImplementedError(
            f"{name} under vmap: noise depends on the sample's index, and a mapped dimension has none; make it part of "
            "the batch: one call with shape (V * B, *event), and one seed a sample or a first_index"
        )

    return rule


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


def backward_affine(ctx, grads, wanted, run):
    """grad[j] = sum_r weights[..., r, j] * grads[r]: affine with the transposed weights and no draws.

    Sums run in the widest dtype among the tensors that want a gradient, so that a half-precision tensors[0] does not
    round the gradient of a float32 neighbour. wanted: which tensors need one; run: affine, as differentiable as needed.
    """
    weights, seeds, draws = ctx.saved_tensors
    wanted = [j for j, needed in enumerate(wanted) if needed]
    present = [r for r, grad in enumerate(grads) if grad is not None]
    result = [None] * len(ctx.dtypes)
    if wanted and present:
        # stack, not an index list: an index would be copied to the device, which a CUDA graph cannot capture.
        rows = torch.stack([weights[..., r, :] for r in present], dim=-1)
        transposed = torch.stack([rows[..., j, :] for j in wanted], dim=-2)
        widest = functools.reduce(torch.promote_types, (ctx.dtypes[j] for j in wanted))
        lead, *others = (grads[r] for r in present)
        none = (seeds.new_empty(0), 0, draws.new_empty(0))
        sums = run([lead.to(widest), *others], transposed, *none)
        for j, grad in zip(wanted, sums, strict=True):
            result[j] = grad.to(ctx.dtypes[j])
    return result, None, None, None, None


def backward_op(ctx, grads):
    return backward_affine(ctx, grads, ctx.needs_input_grad[0], torch.ops.torchdiff.affine.default)


def save_norms(ctx, inputs, output):
    """Keeps the tensors and their norms."""
    ctx.save_for_backward(output, *inputs[0])


def backward_norms(ctx, grads):
    """grad[j] = grads[:, j] * tensors[j] / norm[j], and 0 where that norm is; draws are constants.

    In float64: the inverse of a small norm is beyond float32.
    """
    norms, *tensors = ctx.saved_tensors
    still = norms == 0.0
    ratios = (grads / norms.masked_fill(still, 1.0)).masked_fill(still, 0.0)
    result = [None] * len(tensors)
    for j, needed in enumerate(ctx.needs_input_grad[0]):
        if needed:
            ratio = ratios[:, j].reshape(-1, *[1] * (tensors[j].dim() - 1))
            result[j] = (ratio * tensors[j].to(torch.float64)).to(tensors[j].dtype)
    return result, None, None, None


@functools.cache
def register() -> None:
    """Registers all of the above; the ops themselves must exist by now."""
    torch.library.register_fake("torchdiff::affine", fake_affine)
    torch.library.register_fake("torchdiff::norms", fake_norms)
    torch.library.register_fake("torchdiff::normal", fake_normal)
    torch.library.register_fake("torchdiff::affine.out", fake_affine_out)
    torch.library.register_fake("torchdiff::normal.out", fake_normal_out)
    torch.library.register_fake("torchdiff::brownian", fake_brownian)
    for op in ("affine.out", "normal.out"):
        _LIBRARY.impl(op, refuse_derivatives(op), "Autograd")
    for op in ("normal", "brownian"):
        torch.library.register_vmap(f"torchdiff::{op}", refuse_mapped_noise(op))
    torch.library.register_autograd("torchdiff::affine", backward_op, setup_context=save_weights)
    torch.library.register_autograd("torchdiff::norms", backward_norms, setup_context=save_norms)
