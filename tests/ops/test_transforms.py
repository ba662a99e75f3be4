"""affine under torch.func, forward-mode derivatives and vmap: right, or refused with the way out."""

import pytest
import torch
from torch.autograd import forward_ad

from torchdiff import ops

NONE = torch.empty(0, dtype=torch.int64)
SEEDS, DRAWS = torch.tensor([3]), torch.tensor([5])
WEIGHTS = torch.tensor([[2.0, 3.0, 0.5], [-1.0, 0.25, 1.5]], dtype=torch.float64)


def tensors(*shape, count=2, dtype=torch.float64):
    g = torch.Generator().manual_seed(7)
    return [torch.randn(shape, generator=g, dtype=torch.float64).to(dtype) for _ in range(count)]


def noisy(x, y):
    return ops.affine([x, y], WEIGHTS, SEEDS, 4, DRAWS)


def still(x, y, weights=WEIGHTS[:, :2]):
    return ops.affine([x, y], weights, NONE, 0, NONE)


def test_reverse_transforms_give_the_weights():
    """grad, vjp and jacrev of rows with noise are the transposed weights; the noise is a constant."""
    x, y = tensors(2, 3)
    jacobian = torch.func.jacrev(lambda x: noisy(x, y)[1])(x).reshape(6, 6)
    assert torch.equal(jacobian, -torch.eye(6, dtype=torch.float64))
    assert torch.equal(torch.func.grad(lambda y: noisy(x, y)[0].sum())(y), torch.full_like(y, 3.0))
    out, back = torch.func.vjp(lambda y: tuple(noisy(x, y)), y)
    assert torch.equal(out[0], noisy(x, y)[0])
    assert torch.equal(back((torch.ones_like(y), torch.ones_like(y)))[0], torch.full_like(y, 3.25))


def test_forward_transforms_give_the_weights():
    """jvp, jacfwd and dual tensors move by the weighted tangents, under no_grad too, and a still input by nothing."""
    x, y = tensors(2, 3)
    out, moved = torch.func.jvp(lambda x: tuple(noisy(x, y)), (x,), (torch.ones_like(x),))
    assert torch.equal(out[1], noisy(x, y)[1])
    assert torch.equal(moved[0], torch.full_like(x, 2.0))
    assert torch.equal(moved[1], torch.full_like(x, -1.0))
    jacobian = torch.func.jacfwd(lambda y: noisy(x, y)[0])(y).reshape(6, 6)
    assert torch.equal(jacobian, 3.0 * torch.eye(6, dtype=torch.float64))
    with torch.no_grad(), forward_ad.dual_level():
        dual = forward_ad.make_dual(x, torch.ones_like(x))
        assert torch.equal(forward_ad.unpack_dual(noisy(dual, y)[0]).tangent, torch.full_like(x, 2.0))
        assert forward_ad.unpack_dual(noisy(x, y)[0]).tangent is None


def test_transforms_nest():
    """The Hessian of a quadratic of a row is twice the square of its weight: reverse over forward over the op."""
    x, y = tensors(2, 3)
    hessian = torch.func.hessian(lambda x: (noisy(x, y)[0] ** 2).sum())(x).reshape(6, 6)
    assert torch.equal(hessian, 8.0 * torch.eye(6, dtype=torch.float64))
    (a,), (b,) = tensors(5, 2, 3, count=1), tensors(2, 3, count=1)
    each = torch.func.vmap(torch.func.grad(lambda x: (still(x, b)[0] ** 2).sum()))(a)
    assert torch.allclose(each, 4.0 * (2.0 * a + 3.0 * b), rtol=1e-14)


def test_gradcheck_in_both_modes():
    """Forward and reverse derivatives equal finite differences; second derivatives too."""
    inputs = [t.requires_grad_() for t in tensors(2, 3)]
    assert torch.autograd.gradcheck(lambda x, y: tuple(still(x, y)), inputs, check_forward_ad=True)
    assert torch.autograd.gradcheck(lambda x, y: tuple(noisy(x, y)), inputs, check_forward_ad=True)
    assert torch.autograd.gradgradcheck(lambda x, y: sum((out**2).sum() for out in noisy(x, y)), inputs)


@pytest.mark.parametrize("dims", [(0, None), (None, 0), (1, 0), (2, 1)])
def test_vmap_without_noise_is_a_loop(dims):
    """Mapping over any dimension of one or both tensors gives, bit for bit, a stack of single calls."""
    pairs = zip(tensors(4, 4, 4, dtype=torch.float32), dims, strict=True)
    x, y = (t if d is not None else t.select(1, 0) for t, d in pairs)
    mapped = torch.func.vmap(lambda x, y: tuple(still(x, y)), in_dims=dims)(x, y)
    for i in range(4):
        alone = still(*(t if d is None else t.select(d, i) for t, d in zip((x, y), dims, strict=True)))
        assert all(torch.equal(m[i], a) for m, a in zip(mapped, alone, strict=True))


@pytest.mark.parametrize("per_sample", [False, True])
def test_vmap_over_weights_is_a_loop(per_sample):
    """Weights may be mapped, shared or of each sample, beside tensors that are not."""
    x, y = tensors(3, 5, dtype=torch.float32)
    g = torch.Generator().manual_seed(1)
    weights = torch.randn((4, *[3] * per_sample, 2, 2), generator=g, dtype=torch.float64)
    mapped = torch.func.vmap(lambda w: tuple(still(x, y, w)))(weights)
    for i in range(4):
        assert all(torch.equal(m[i], a) for m, a in zip(mapped, still(x, y, weights[i]), strict=True))


def test_vmap_of_noise_is_refused():
    """A mapped dimension has no sample index: noise under vmap raises and says what to do instead."""
    (x,) = tensors(4, 2, 3, count=1)
    with pytest.raises(NotImplementedError, match=r"no(t|ne).*part of the batch"):
        torch.func.vmap(lambda x: noisy(x, x)[0])(x)
    with pytest.raises(NotImplementedError, match="part of the batch"):
        torch.func.vmap(lambda seed: ops.normal([2, 3], seed, 0, DRAWS, torch.float32))(torch.tensor([[1], [2]]))


def test_out_is_refused_where_it_would_lose_derivatives():
    """out under grad, forward_ad or torch.func raises: what it writes would carry no derivative."""
    x, y = tensors(2, 3)
    out = [torch.empty_like(x), torch.empty_like(x)]

    def into(x):
        return ops.affine([x, y], WEIGHTS, SEEDS, 4, DRAWS, out=out)[0]

    with pytest.raises(ValueError, match="affine: out is not differentiable"):
        into(x.clone().requires_grad_())
    with pytest.raises(ValueError, match="affine: out is not differentiable"):
        torch.ops.torchdiff.affine.out([x.clone().requires_grad_(), y], WEIGHTS, SEEDS, 4, DRAWS, out=out)
    with pytest.raises(NotImplementedError, match="call without it"):
        torch.func.jvp(into, (x,), (x,))
    with torch.no_grad():
        assert torch.equal(into(x.clone().requires_grad_()), noisy(x, y)[0])
