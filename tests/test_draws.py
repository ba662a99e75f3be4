"""Draws that are never stored, and the corrector that is made of them."""

from __future__ import annotations

import itertools
from types import SimpleNamespace

import pytest
import torch
from torch.profiler import ProfilerActivity, profile

import torchdiff
from torchdiff import noise, ops
from torchdiff.draws import Draws, Fresh, lazy
from torchdiff.solvers import Langevin, Solver, Span

SEED, FIRST = 12, 5


def draws(shape, dtype=torch.float32):
    """A step's noise whose draws are numbered 0, 1, ..."""
    numbers = itertools.count()

    def fresh(start, end):
        return [Fresh((), torch.tensor([SEED]), FIRST, torch.tensor([next(numbers)]))]

    return Draws(fresh, shape, dtype)


def normals(shape, dtype=torch.float32):
    """The same as tensors, from noise.normal."""
    numbers = itertools.count()
    return lambda start, end: noise.normal(shape, seed=SEED, first_index=FIRST, draw=next(numbers), dtype=dtype)


def corrected(x, score, source, **options):
    """x after the corrector on a coarse interval of VP, the score given."""
    sde = torchdiff.get_sde("vp")
    span = Span(sde, (sde.level(0.6), sde.level(0.3)), 0)
    return Langevin(**options).step(x, span, lambda x, level: SimpleNamespace(score=score(x)), source)


@pytest.mark.parametrize("norm", ["sample", "batch"])
@pytest.mark.parametrize(("dtype", "error"), [(torch.float32, 1e-6), (torch.float64, 1e-12)])
def test_fused_corrector_is_its_formula(dtype, error, norm):
    """x <- x + e score + sqrt(2 e) z, e = 2 a (snr |z| / |score|)^2, twice, in tensors of noise.normal's values."""
    shape, g = (3, 2, 700), torch.Generator().manual_seed(1)
    x = torch.randn(shape, generator=g, dtype=torch.float64).to(dtype)
    slope = torch.linspace(0.5, 2.0, 3, dtype=torch.float64).reshape(3, 1, 1).to(dtype)
    found = corrected(x, lambda x: -slope * x, draws(shape, dtype), snr=0.2, repeat=2, norm=norm)
    source = normals(shape, dtype)
    sde = torchdiff.get_sde("vp")
    damping = (sde.level(0.6).alpha / sde.level(0.3).alpha) ** 2
    for _ in range(2):
        score, z = (-slope * x).double(), source(None, None).double()
        length, z_length = score.flatten(1).norm(dim=1), z.flatten(1).norm(dim=1)
        if norm == "batch":
            length, z_length = length.mean(), z_length.mean()
        e = (2.0 * damping * (0.2 * z_length / length) ** 2).reshape(-1, 1, 1)
        x = (x.double() + e * score + (2.0 * e).sqrt() * z).to(dtype)
    # two steps, each a few float32 roundings of x and of the weights' low parts: some 3e-7
    assert float((found - x).abs().max()) <= error * float(x.abs().max())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_draw_is_the_same_stored_or_not(dtype):
    """Norms and sums with a draw that nobody stores have the bits of those with its tensor; so has the corrector."""
    x, shape = torch.randn(4, 3, 50, generator=torch.Generator().manual_seed(2), dtype=dtype), (4, 3, 50)
    stored, fresh = lazy(normals(shape, dtype))(None, None), draws(shape, dtype).lazy(None, None)
    assert not fresh.given
    assert torch.equal(fresh.norms(x), stored.norms(x))
    weights = [0.5, torch.arange(4.0, dtype=torch.float64)]
    assert torch.equal(fresh.add([x], weights), stored.add([x], weights))
    pair = [corrected(x, torch.tanh, source(shape, dtype), repeat=3) for source in (draws, normals)]
    assert torch.equal(*pair)


def test_a_draw_called_for_as_a_tensor_is_the_lazy_one():
    """noise(start, end) and noise.lazy(start, end) number their draws alike, in any order: a solver may use both."""
    source, expected = draws((2, 9)), normals((2, 9))
    zero = torch.zeros(2, 9)
    for call in ("tensor", "lazy", "lazy", "tensor"):
        z = source(None, None) if call == "tensor" else source.lazy(None, None).add([zero], [1.0, 1.0])
        assert torch.equal(z, expected(None, None))


def test_lazy_and_stored_noise_give_the_same_samples():
    """A solver of one's own that adds noise as a tensor samples what its lazy twin does."""

    class Stored(Solver):
        def step(self, x, span, predict, noise):
            model = predict(x, span.cur)
            return span.nxt.alpha * model.x0 + span.nxt.sigma * noise(span.cur, span.nxt)

    class Lazy(Solver):
        def step(self, x, span, predict, noise):
            model = predict(x, span.cur)
            return noise.lazy(span.cur, span.nxt).add([model.x0], [span.nxt.alpha, span.nxt.sigma])

    options = dict(prediction="x0", steps=4, shape=(3, 7), seed=[3, 1, 4], dtype=torch.float64, final="t_min")
    a, b = (torchdiff.sample(lambda x, t: torch.tanh(x), "vp", solver(), **options).x for solver in (Stored, Lazy))
    torch.testing.assert_close(a, b, rtol=1e-14, atol=1e-14)  # a product and a sum, four times


def allocated(run) -> int:
    """Bytes that torch's allocator hands out while `run` runs, with what is freed again not subtracted."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as watched:
        run()
    return sum(
        e.nbytes() for e in watched.profiler.kineto_results.events() if e.name() == "[memory]" and e.nbytes() > 0
    )


def test_the_corrector_stores_no_noise():
    """Its update allocates the new x and nothing else of that size; the same in tensors takes several times as much."""
    if ops.backend().name != "extension":
        pytest.skip("compiled code only")
    shape = (4, 1 << 16)
    x = torch.randn(shape)
    score, size = torch.tanh(x), x.numel() * 4
    assert size <= allocated(lambda: corrected(x, lambda x: score, draws(shape))) < 1.01 * size
    z = torch.randn(shape)
    assert allocated(lambda: x + 0.1 * score + 0.2 * z) > 3.0 * size  # the control: two products and two sums


def test_sums_are_differentiable_by_tensors_and_weights():
    """gradcheck and gradgradcheck pass for x, the score and the weights, with a draw that is stored and one not."""
    g = torch.Generator().manual_seed(3)
    x, y = (torch.randn(3, 2, 2, generator=g, dtype=torch.float64).requires_grad_() for _ in range(2))
    w, u = (torch.randn(3, generator=g, dtype=torch.float64).requires_grad_() for _ in range(2))
    source = draws((3, 2, 2), torch.float64)
    for z in (source.lazy(None, None), Fresh.of(source(None, None))):

        def run(x, y, w, u, z=z):
            return z.add([x, y], [2.0, w, u])

        assert torch.autograd.gradcheck(run, (x, y, w, u))
        assert torch.autograd.gradgradcheck(run, (x, y, w, u))


@pytest.mark.parametrize("norm", ["sample", "batch"])
def test_gradient_through_the_corrector(norm):
    """The derivative of a corrected x by x, through the norms in the step size, equals finite differences."""
    x = torch.randn(2, 4, generator=torch.Generator().manual_seed(4), dtype=torch.float64).requires_grad_()

    def run(x):
        return corrected(x, lambda x: -x + 0.3 * torch.tanh(x), draws((2, 4), torch.float64), repeat=2, norm=norm)

    assert torch.autograd.gradcheck(run, (x,))
    assert torch.equal(run(x), run(x.detach()))  # recording a derivative changes no bit


def test_the_corrector_takes_scores_whose_squares_overflow():
    """A float32 score of 1e25 has a norm, and a step that is its formula's: the noise moves x by sqrt(2 e) |z| = 0."""
    x = torch.ones(2, 100)
    moved = corrected(x, lambda x: torch.full_like(x, 1e25), draws((2, 100)))
    # e score = 2 a snr^2 |z|^2 / |score| is below 1e-23 and sqrt(2 e) below 1e-24
    assert torch.equal(moved, x)
    still = corrected(x, lambda x: torch.full_like(x, 1e25) * torch.tensor([[0.0], [1.0]]), draws((2, 100)))
    assert torch.equal(still, x)


def test_a_batch_and_its_parts_are_corrected_alike():
    """A sample's step depends on its own seed alone: bit for bit the same in a batch of three as by itself."""
    x = torch.randn(3, 5000, generator=torch.Generator().manual_seed(5))
    seeds, draw = torch.tensor([7, 8, 9]), torch.tensor([2])

    def run(rows):
        return corrected(x[rows], torch.sin, SimpleNamespace(lazy=lambda s, e: Fresh((), seeds[rows], 0, draw)))

    assert torch.equal(run(slice(0, 3)), torch.cat([run(slice(i, i + 1)) for i in range(3)]))
