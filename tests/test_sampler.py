"""The sampler as a torch module: what `sample` gives, in one graph that outlives its numbers."""

from __future__ import annotations

import io

import pytest
import torch
from instances import MOVERS, field, prediction_for
from torch._dynamo.testing import CompileCounterWithBackend

import torchdiff
from torchdiff import Sampler, get_solver, noise, ops
from torchdiff.errors import IncompatibleError, NetworkError, OptionError, PlanError

SHAPE, STEPS, SEED = (3, 5), 4, 11
SEEDS = torch.tensor([SEED])
AFFINE = [(solver, sde) for solver, sde in MOVERS if all(part.affine for part in get_solver(solver).parts())]
STEADY = torch._dynamo.config.patch(error_on_recompile=True)


class Net(torch.nn.Module):
    """A network with parameters that knows the time."""

    def __init__(self, dtype=torch.float32):
        super().__init__()
        torch.manual_seed(0)
        self.first, self.last = torch.nn.Linear(6, 16, dtype=dtype), torch.nn.Linear(16, 5, dtype=dtype)

    def forward(self, x, t):
        return self.last(torch.tanh(self.first(torch.cat([x, t[:, None].to(x.dtype)], dim=1))))


def planned(solver="ddpm", sde="vp", **options):
    return torchdiff.plan(sde, solver, **{"steps": STEPS, "prediction": prediction_for(sde), **options})


def counted(sampler):
    counter = CompileCounterWithBackend("aot_eager")
    return torch.compile(sampler, backend=counter, fullgraph=True), counter


# a Sampler sees the structure of a plan, and that is the solver's: bfloat16, which rounds outputs too, on one process
@pytest.mark.parametrize(
    ("solver", "sde", "dtype"),
    [(*pair, torch.float32) for pair in AFFINE]
    + [(solver, sde, torch.bfloat16) for solver, sde in AFFINE if sde in ("vp", "cld")],
)
def test_sampler_gives_what_sample_gives(solver, sde, dtype):
    """Bit for bit, from the prior and from a given x, with one seed and with one for each sample."""
    sampler = Sampler(field, planned(solver, sde), shape=SHAPE, dtype=dtype)
    options = dict(steps=STEPS, prediction=prediction_for(sde), dtype=dtype)
    drawn = torchdiff.sample(field, sde, solver, shape=SHAPE, seed=SEED, first_index=5, **options)
    assert torch.equal(sampler(None, SEEDS, 5), drawn.x)
    own = torchdiff.sample(field, sde, solver, shape=SHAPE, seed=[4, 5, 6], **options)
    assert torch.equal(sampler(None, torch.tensor([4, 5, 6])), own.x)
    start = tuple(noise.normal(SHAPE, seed=1, draw=b, dtype=dtype) for b in range(sampler.blocks))
    given = torchdiff.sample(field, sde, solver, x=start, seed=SEED, **options)
    assert torch.equal(sampler(start if len(start) > 1 else start[0], SEEDS), given.x)


@pytest.mark.parametrize(("solver", "sde"), [("ddim", "vp"), ("ddpm", "vp"), ("dpmpp_2m", "ve"), ("sscs", "cld")])
def test_one_graph_for_all_seeds_and_plans(solver, sde):
    """fullgraph compiles once; other seeds, starts and a loaded plan run the same graph, with the eager bits."""
    torch._dynamo.reset()
    other = {"vp": "vp:beta_1=15", "ve": "ve:sigma_max=30", "cld": "cld:beta=3"}[sde]
    first, second = planned(solver, sde), planned(solver, other)
    sampler = Sampler(field, first, shape=SHAPE)
    compiled, counter = counted(sampler)
    with STEADY:
        assert torch.equal(compiled(None, SEEDS), Sampler(field, first, shape=SHAPE)(None, SEEDS))
        assert torch.equal(compiled(None, SEEDS + 1), Sampler(field, first, shape=SHAPE)(None, SEEDS + 1))
        sampler.load(second)
        assert torch.equal(compiled(None, SEEDS), Sampler(field, second, shape=SHAPE)(None, SEEDS))
        sampler.load(first)
        assert torch.equal(compiled(None, SEEDS), Sampler(field, first, shape=SHAPE)(None, SEEDS))
    assert counter.frame_count == 1


def test_the_first_index_compiles_once_more_at_most():
    """Dynamo takes an integer for a constant until it changes; after that any first_index runs the same graph."""
    torch._dynamo.reset()
    sampler = Sampler(field, planned(), shape=SHAPE)
    compiled, counter = counted(sampler)
    for first in (7, 8, 2**40, 123):
        assert torch.equal(compiled(None, SEEDS, first), sampler(None, SEEDS, first))
    assert counter.frame_count == 2


def test_a_network_with_parameters_compiles_into_the_same_graph():
    """Gradients reach x and parameters through a compiled run, equal to eager ones; the network is a submodule."""
    torch._dynamo.reset()
    sampler = Sampler(Net(), planned("dpmpp_2m"))
    assert {name for name, _ in sampler.named_parameters()} == {f"net.{n}" for n, _ in Net().named_parameters()}
    compiled, counter = counted(sampler)
    x = torch.linspace(-1.0, 1.0, 15).reshape(SHAPE).requires_grad_()
    wanted = torch.autograd.grad(sampler(x, SEEDS).square().sum(), [x, *sampler.parameters()])
    got = torch.autograd.grad(compiled(x, SEEDS).square().sum(), [x, *sampler.parameters()])
    assert counter.frame_count == 1
    for a, b in zip(got, wanted, strict=True):
        # the same operations; AOT adds the gradients of the five calls up in another order
        assert torch.allclose(a, b, rtol=1e-5, atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("solver", ["ddpm", "dpmpp_2m"])
def test_inductor_stays_within_two_ulp_a_step(solver):
    """Compiled to machine code, noise is the same bits and x differs by at most 2 ulp of its size a step."""
    torch._dynamo.reset()
    sampler = Sampler(field, planned(solver), shape=(64, 5))
    compiled = torch.compile(sampler, fullgraph=True)
    mine, theirs = compiled(None, SEEDS), sampler(None, SEEDS)
    ulp = torch.finfo(torch.float32).eps * float(theirs.abs().max())
    assert float((mine - theirs).abs().max()) <= 2 * (STEPS + 1) * ulp
    still = Sampler(lambda x, t: torch.zeros_like(x), planned(solver), shape=(64, 5))
    assert torch.equal(torch.compile(still, fullgraph=True)(None, SEEDS), still(None, SEEDS))


class Step(torch.nn.Module):
    """One step of any solver with one output row, as a user writes it."""

    def forward(self, x, output, weights, seeds, draws):
        return ops.affine([x, output], weights, seeds, 3, draws)[0]


def test_one_step_exports():
    """torch.export of a module around ops.affine: saved, loaded and run, it gives the same bits for other numbers."""
    g = torch.Generator().manual_seed(0)
    x, y = (torch.randn(SHAPE, generator=g) for _ in range(2))
    draws, weights = torch.tensor([9]), torch.randn(1, 3, generator=g, dtype=torch.float64)
    program = through_file(torch.export.export(Step(), (x, y, weights, SEEDS, draws)))
    for change in (0, 1):
        arguments = (x + change, y, weights * (1 + change), SEEDS + change, draws + change)
        assert torch.equal(program(*arguments), Step()(*arguments))


def through_file(program):
    file = io.BytesIO()
    torch.export.save(program, file)
    file.seek(0)
    return torch.export.load(file).module()


@pytest.mark.parametrize(("solver", "sde"), [("ddpm", "vp"), ("dpmpp_2m", "vp"), ("sscs", "cld")])
def test_a_whole_sampler_exports(solver, sde):
    """So does a whole run, from the prior; the exported program takes other seeds."""
    sampler = Sampler(field, planned(solver, sde), shape=SHAPE)
    with torch.no_grad():
        program = through_file(torch.export.export(sampler, (None, SEEDS)))
    for seeds in (SEEDS, SEEDS + 1):
        assert torch.equal(program(None, seeds), sampler(None, seeds))


def test_a_batch_of_any_size_exports():
    """With a dynamic batch the program serves every batch, and row i is what it is in any other."""
    sampler = Sampler(field, planned("ddpm"))
    batch = torch.export.Dim("batch", min=2, max=64)
    x = torch.linspace(-1.0, 1.0, 35).reshape(7, 5)
    with torch.no_grad():
        program = torch.export.export(sampler, (x, SEEDS), dynamic_shapes=({0: batch}, None)).module()
    for count in (2, 7):
        assert torch.equal(program(x[:count], SEEDS), sampler(x, SEEDS)[:count])


def test_half_keeps_the_numbers():
    """Module.half() and .double() convert the network, not the float64 weights of the plan."""
    sampler, back = (
        Sampler(net, planned("ddim"), shape=SHAPE, dtype=torch.float64) for net in (Net(), Net().half().double())
    )
    with torch.no_grad():
        assert torch.equal(sampler.half().double()(None, SEEDS), back(None, SEEDS))


def test_state_dict_carries_the_plan():
    """The buffers of one plan loaded into a sampler of another of the same structure make it the first."""
    first, second = (Sampler(field, planned("ddpm", sde), shape=SHAPE) for sde in ("vp", "vp:beta_1=15"))
    assert not torch.equal(first(None, SEEDS), second(None, SEEDS))
    second.load_state_dict(first.state_dict())
    assert torch.equal(first(None, SEEDS), second(None, SEEDS))


class Own(torchdiff.Denoiser):
    """A denoiser that calls its network itself."""

    def __call__(self, *blocks_and_level):
        return super().__call__(*blocks_and_level)


BAD = [
    (lambda: Sampler(field, planned("predictor_corrector")), IncompatibleError, "Langevin.*runs with `sample`"),
    (lambda: Sampler(torchdiff.wrap(field, "v"), planned()), OptionError, "predicts 'v', the plan is for 'eps'"),
    (lambda: Sampler(Own(field), planned()), IncompatibleError, "Own calls its network in a way of its own"),
    (lambda: Sampler(field, planned(), shape=5), OptionError, "got 5"),
    (lambda: Sampler(field, planned(), dtype=torch.int32), OptionError, "int32"),
    (lambda: Sampler(3, planned()), OptionError, "cannot be called"),
    (lambda: Sampler(field, planned())(None, SEEDS), OptionError, "give x to start from, or the Sampler a shape"),
    (lambda: Sampler(field, planned("sscs", "cld"))(torch.zeros(2, 3), SEEDS), OptionError, r"2 block\(s\), got 1"),
    (lambda: Sampler(lambda x, t: x[:, :2], planned(), shape=SHAPE)(None, SEEDS), NetworkError, r"\(3, 2\)"),
    (lambda: Sampler(field, planned()).load(planned(steps=9)), PlanError, "has 10 items, this sampler 5"),
    (lambda: Sampler(field, planned()).load(planned("ddim")), PlanError, "item 0 of .*make another Sampler"),
    (lambda: Sampler(field, planned()).load(planned(prediction="v")), OptionError, "the plan is for 'v'"),
    (lambda: Sampler(torchdiff.wrap(None, "eps"), planned(), shape=SHAPE)(None, SEEDS), OptionError, "no network"),
]


@pytest.mark.parametrize(("make", "error", "message"), BAD)
def test_bad_samplers_are_named(make, error, message):
    """What cannot run as one graph, or does not fit the plan that is loaded, raises an error that says why."""
    with pytest.raises(error, match=message):
        make()
