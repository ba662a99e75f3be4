"""The door to affine: the shortest way to the kernel, and the rules for torch.func and forward-mode derivatives."""

from __future__ import annotations

import functools
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.autograd import forward_ad

from .autograd import backward_affine, register, save_weights
from .loader import backend

backend()
register()

_affine, _affine_out = torch.ops.torchdiff.affine.default, torch.ops.torchdiff.affine.out
_affine_op = _affine._op  # the same without a Python frame
_below_autograd = torch._C._AutoDispatchBelowAutograd
_functorch = torch._C._are_functorch_transforms_active
_dispatch_modes, _function_modes = torch._C._len_torch_dispatch_stack, torch._C._len_torch_function_stack
_compiling, _grad_enabled = torch.compiler.is_compiling, torch.is_grad_enabled


def affine(
    tensors: Sequence[Tensor],
    weights: Tensor,
    seeds: Tensor,
    first_index: int,
    draws: Tensor,
    *,
    out: Sequence[Tensor] | None = None,
) -> list[Tensor]:
    """out[r] = sum_j weights[..., r, j] * tensors[j] + sum_q weights[..., r, n + q] * z[q],   n = len(tensors).

    tensors: n >= 1 tensors (B, *event), one device, any strides, float32, float64, float16 or bfloat16, also mixed.
    weights: float64 (R, n + Q), or (B, R, n + Q) for weights of each sample; not differentiable.
    seeds:   int64 (1,): sample i has index first_index + i. Or (B,): each sample has its own seed, and all have index
             first_index, so that a row is what its seed alone gives for a batch of one. Empty if Q = 0.
    draws:   int64 (Q,), one draw number a noise column (torchdiff.noise.draw_number). z[q] depends on the seed, the
             sample's index, draws[q] and the element's logical index only: not on B, strides, threads or device.
    weights, seeds and draws live on the device of the tensors.
    out:     R tensors to write to, of the tensors' shape and device, any of these dtypes, any strides. Each may be the
             very same tensor as an input; no other overlap. Not differentiable.
    Returns out, or R tensors (B, *event) of tensors[0]'s dtype and layout. Sums run from the last column to column 0,
    the state: in float32 by fma, with weights in two float32 parts, so that a float32 state is rounded once a step and
    hardly more; in float64 if a tensor is, every product and sum rounded by itself. Weights beyond float32's range give
    nan then, and where a tensor is nan or infinite, so is the row, or nan.
    Raises ValueError (RuntimeError in compiled code) naming the argument that does not fit.
    """
    if out is not None:
        _into(out, tensors, weights, seeds, first_index, draws)
        return list(out)
    if _compiling():
        return _affine(tensors, weights, seeds, first_index, draws)
    if _functorch() or forward_ad._current_level >= 0:
        return list(Affine.apply(weights, seeds, first_index, draws, *tensors))  # pyright: ignore[reportGeneralTypeIssues]
    if _dispatch_modes() or _function_modes() or (_grad_enabled() and _require_grad(tensors, weights)):
        return _affine(tensors, weights, seeds, first_index, draws)
    # nothing is recorded and no mode looks on: torch's Python hook for autograd would cost 4 us to find that out
    with _below_autograd():
        return _affine_op(tensors, weights, seeds, first_index, draws)


def _into(out, *arguments) -> None:
    if not _compiling():
        if _functorch() or forward_ad._current_level >= 0:
            raise NotImplementedError(
                "affine: out is for plain tensors; under torch.func or forward_ad call without it"
            )
        recorded = _grad_enabled() and _require_grad([*arguments[0], *out], arguments[1])
        if not (_dispatch_modes() or _function_modes() or recorded):
            with _below_autograd():
                return _affine_out(*arguments, out=out)
    _affine_out(*arguments, out=out)


def _require_grad(tensors: Sequence[Tensor], weights: Tensor) -> bool:
    return weights.requires_grad or any(t.requires_grad for t in tensors)


def watched() -> bool:
    """Whether anything but the caller sees the ops that run now: a mode, a transform, a compiler, dual numbers."""
    return bool(
        _compiling() or _functorch() or forward_ad._current_level >= 0 or _dispatch_modes() or _function_modes()
    )


class Affine(torch.autograd.Function):
    """affine for torch.func and dual tensors, which an op with a list of tensors does not get from torch's registry.

    apply(weights, seeds, first_index, draws, *tensors) -> R outputs.
    """

    @staticmethod
    def forward(weights, seeds, first_index, draws, *tensors):
        return tuple(_affine(tensors, weights, seeds, first_index, draws))

    @staticmethod
    def setup_context(ctx, inputs, output):
        weights, seeds, first_index, draws, *tensors = inputs
        save_weights(ctx, (tensors, weights, seeds, first_index, draws), output)
        ctx.save_for_forward(weights, seeds, draws)
        ctx.results = [t.dtype for t in output]

    @staticmethod
    def backward(ctx, *grads):
        wanted = ctx.needs_input_grad[4:]
        return (None, None, None, None, *backward_affine(ctx, grads, wanted, affine)[0])

    @staticmethod
    def jvp(ctx, *tangents):
        """affine of the tangents: the noise is a constant."""
        weights, seeds, draws = ctx.saved_tensors
        present = [j for j, tangent in enumerate(tangents[4:]) if tangent is not None]
        columns = torch.stack([weights[..., j] for j in present], dim=-1)
        lead, *others = (tangents[4 + j] for j in present)
        widest = functools.reduce(torch.promote_types, (t.dtype for t in (lead, *others)))
        outputs = affine([lead.to(widest), *others], columns, seeds.new_empty(0), 0, draws.new_empty(0))
        return tuple(out.to(dtype) for out, dtype in zip(outputs, ctx.results, strict=True))

    @staticmethod
    def vmap(info, in_dims, weights, seeds, first_index, draws, *tensors):
        dims = (list(in_dims[4:]), *in_dims[:4])
        outputs, out_dims = map_affine(info, dims, list(tensors), weights, seeds, first_index, draws)
        return tuple(outputs), tuple(out_dims)


def map_affine(info, in_dims, tensors, weights, seeds, first_index, draws):
    """The rule of vmap: without noise the mapped dimension is one more of the batch; with noise it has no sample index.

    Raises NotImplementedError for noise.
    """
    dims, weights_dim, *_ = in_dims
    if draws.numel() > 0:
        raise NotImplementedError(
            "affine under vmap: noise depends on the sample's index, and a mapped dimension has none; make it part of "
            "the batch, (V, B, *event) -> (V * B, *event), and give one seed a sample, or a first_index"
        )
    size = info.batch_size
    if min(t.dim() - (dim is not None) for t, dim in zip(tensors, dims, strict=True)) == 0:
        raise ValueError("affine: tensors[0] has no batch dimension; give (B, *event), or unsqueeze it")
    whole = [_in_front(t, dim, size) for t, dim in zip(tensors, dims, strict=True)]
    batch = whole[0].shape[1]
    flat = [t.reshape(size * t.shape[1], *t.shape[2:]) for t in whole]
    if weights_dim is not None or weights.dim() == 3:
        table = _in_front(weights, weights_dim, size)
        table = table if table.dim() == 4 else table.unsqueeze(1).expand(-1, batch, -1, -1)
        weights = table.reshape(size * batch, *table.shape[2:])
    outputs = affine(flat, weights, draws.new_empty(0), 0, draws.new_empty(0))
    return [out.view(size, batch, *out.shape[1:]) for out in outputs], [0] * len(outputs)


def _in_front(t: Tensor, dim: int | None, size: int) -> Tensor:
    """The mapped dimension first, or made of copies by reference where a tensor is not mapped."""
    return t.expand(size, *t.shape) if dim is None else t.movedim(dim, 0)


torch.library.register_vmap("torchdiff::affine", map_affine)
