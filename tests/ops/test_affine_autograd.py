"""Gradients of affine, and what torch's own checker says of the ops."""

import pytest
import torch
from torch.library import opcheck

from torchdiff import ops


def arguments(shape=(3, 2, 2), count=2, rows=2, draws=1, per_sample=False, dtype=torch.float64):
    g = torch.Generator().manual_seed(5)
    tensors = [torch.randn(shape, generator=g, dtype=torch.float64).to(dtype).requires_grad_() for _ in range(count)]
    weights = torch.randn((*shape[:per_sample], rows, count + draws), generator=g, dtype=torch.float64)
    return tensors, weights, torch.tensor([3]), 4, torch.arange(draws)


@pytest.mark.parametrize("per_sample", [False, True])
def test_gradients_match_finite_differences(per_sample):
    """gradcheck and gradgradcheck pass in float64, with weights shared and of each sample, with noise and without."""
    for draws in (0, 2):
        tensors, *rest = arguments(draws=draws, per_sample=per_sample)

        def run(*inputs, rest=rest):
            return tuple(ops.affine(list(inputs), *rest))

        assert torch.autograd.gradcheck(run, tensors)
        # affine is linear, so its second derivative is zero: a quadratic of it has one to check
        assert torch.autograd.gradgradcheck(lambda *x, run=run: sum((out**2).sum() for out in run(*x)), tensors)


@pytest.mark.parametrize("per_sample", [False, True])
def test_backward_is_the_transposed_forward(per_sample):
    """grad = affine(grad_outputs, transposed weights), bit for bit."""
    tensors, weights, *rest = arguments(per_sample=per_sample, dtype=torch.float32)
    outputs = ops.affine(tensors, weights, *rest)
    grads = [torch.randn_like(out) for out in outputs]
    mine = torch.autograd.grad(outputs, tensors, grads)
    none = torch.empty(0, dtype=torch.int64)
    expected = ops.affine(grads, weights[..., :2].transpose(-1, -2), none, 0, none)
    assert all(torch.equal(a, b) for a, b in zip(mine, expected, strict=True))


def test_unused_outputs_and_inputs_are_left_out():
    """Backward from one row to one of the inputs uses that row and that column alone."""
    tensors, weights, *rest = arguments()
    tensors[0] = tensors[0].detach()
    _, second = ops.affine(tensors, weights, *rest)
    second.sum().backward()
    assert tensors[0].grad is None
    assert torch.equal(tensors[1].grad, torch.full_like(tensors[1], weights[1, 1].item()))


def test_gradients_of_mixed_dtypes():
    """Each input's gradient has its dtype, and a float32 input's is not rounded through its float16 neighbour."""
    half = torch.randn(2, 3).half().requires_grad_()
    single = torch.randn(2, 3).requires_grad_()
    none = torch.empty(0, dtype=torch.int64)
    weights = torch.tensor([[1.0, 1.0 + 2.0**-20]], dtype=torch.float64)
    (out,) = ops.affine([half, single], weights, none, 0, none)
    out.sum().backward()
    assert half.grad.dtype == torch.float16
    assert torch.equal(single.grad, torch.full((2, 3), 1.0 + 2.0**-20))


def test_weights_are_not_differentiable():
    """Weights that require grad are refused: a gradient of zero would be wrong in silence."""
    tensors, weights, *rest = arguments()
    with pytest.raises(ValueError, match="weights are not differentiable"):
        ops.affine(tensors, weights.requires_grad_(), *rest)


# torch 2.14's AOT dispatch reads .grad of the op's non-leaf outputs on its own account, and warns about it
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16, torch.bfloat16])
@pytest.mark.parametrize(
    "case", [{}, {"draws": 0}, {"rows": 1, "per_sample": True}, {"shape": (0, 2)}, {"shape": (1,)}]
)
def test_opcheck_affine(case, dtype):
    """Schema, autograd registration, fake tensors and AOT dispatch with dynamic shapes: all of opcheck."""
    given = arguments(**case, dtype=dtype)
    assert set(opcheck(torch.ops.torchdiff.affine.default, given).values()) == {"SUCCESS"}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("shape", [[3, 5], [0, 2], [1], [2, 0]])
def test_opcheck_normal(shape, dtype):
    """All of opcheck on the noise op."""
    given = (shape, torch.tensor([3]), 4, torch.tensor([7]), dtype)
    assert set(opcheck(torch.ops.torchdiff.normal.default, given).values()) == {"SUCCESS"}


def test_traced_whole():
    """torch.compile keeps the op in one graph, for several batch sizes, with the eager bits."""
    step = torch.compile(lambda tensors, *rest: ops.affine(tensors, *rest)[0] * 2, backend="aot_eager", fullgraph=True)
    for batch in (2, 3, 5):
        tensors, *rest = arguments(shape=(batch, 4), dtype=torch.float32)
        assert torch.equal(step(tensors, *rest), ops.affine(tensors, *rest)[0] * 2)
