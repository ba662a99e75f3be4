"""A guided network in a Sampler: what `sample` gives, in one graph."""

from __future__ import annotations

import pytest
import torch
from gaussians import field
from torch._dynamo.testing import CompileCounterWithBackend

import torchdiff
from torchdiff import Sampler, autoguide, clip, guide, wrap
from torchdiff.errors import IncompatibleError, OptionError, PlanError

SHAPE, SEEDS = (3, 5), torch.tensor([11])
LABELS = torch.tensor([0, 1, 2])
NULL = {"label": 7}
WAYS = {
    "a number": dict(scale=3.0),
    "none": dict(scale=0.0),
    "the condition": dict(scale=1.0),
    "a function": dict(scale=lambda level: 1.0 + level.t),
    "an interval": dict(scale=2.0, interval=(0.2, 0.6), interval_in="t"),
    "two calls": dict(scale=3.0, batched=False),
    "rows": dict(scale=3.0, null={"label": torch.tensor([7, 8, 9])}),
}


def guided(scale, null=NULL, prediction="eps", **more):
    return guide(wrap(field, prediction), scale, null=null, **more)


def plan(net, solver="dpmpp_2m_sde", sde="vp", **more):
    return torchdiff.plan(sde, solver, **{"steps": 6, "denoiser": net, **more})


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(("solver", "sde"), [("dpmpp_2m_sde", "vp"), ("heun", "ve"), ("lms", "flow"), ("sscs", "cld")])
def test_a_guided_sampler_gives_what_sample_gives(solver, sde, way):
    """Bit for bit, wherever both sides are asked, one, or one of them on a part of the way."""
    net = guided(**WAYS[way], prediction={"flow": "flow", "cld": "score"}.get(sde, "eps"))
    sampler = Sampler(net, plan(net, solver, sde), shape=SHAPE, cond={"label": LABELS})
    want = torchdiff.sample(net, sde, solver, steps=6, shape=SHAPE, seed=11, cond={"label": LABELS})
    assert torch.equal(sampler(None, SEEDS), want.x)


def test_one_graph_for_all_scales_and_seeds():
    """fullgraph compiles once; a plan of another scale is loaded into the same graph, with the eager bits."""
    torch._dynamo.reset()
    nets = [guided(scale, interval=(0.3, 2.0)) for scale in (2.0, 5.0)]
    sampler = Sampler(nets[0], plan(nets[0]), shape=SHAPE, cond={"label": LABELS})
    counter = CompileCounterWithBackend("aot_eager")
    compiled = torch.compile(sampler, backend=counter, fullgraph=True)
    with torch._dynamo.config.patch(error_on_recompile=True):
        for seeds in (SEEDS, SEEDS + 1):
            assert torch.equal(compiled(None, seeds), sampler(None, seeds))
        sampler.load(plan(nets[1]))
        other = Sampler(nets[1], plan(nets[1]), shape=SHAPE, cond={"label": LABELS})
        assert torch.equal(compiled(None, SEEDS), other(None, SEEDS))
    assert counter.frame_count == 1


def test_a_guided_sampler_exports():
    """torch.export holds both sides of the call; the program takes other seeds."""
    net = guided(3.0)
    sampler = Sampler(net, plan(net), shape=SHAPE, cond={"label": LABELS})
    with torch.no_grad():
        program = torch.export.export(sampler, (None, SEEDS)).module()
    for seeds in (SEEDS, SEEDS + 1):
        assert torch.equal(program(None, seeds), sampler(None, seeds))


def refused(net, of=None):
    return Sampler(net, plan(net if of is None else of), shape=SHAPE, cond={"label": LABELS})


BAD = [
    (lambda: refused(guided([1.0, 2.0, 3.0])), IncompatibleError, "Guided calls its network.*scale for all"),
    (lambda: refused(guided(3.0, rescale=0.7)), IncompatibleError, "without rescale"),
    (lambda: refused(clip(guided(3.0))), IncompatibleError, "Clipped"),
    (lambda: refused(guide(clip(wrap(field, "eps")), 3.0, null=NULL)), IncompatibleError, "Clipped"),
    (lambda: refused(autoguide(wrap(field, "eps"), wrap(field, "eps"), 2.0)), IncompatibleError, "AutoGuided"),
    (lambda: refused(guided(3.0), guided(2.0)), OptionError, r"adds the network's outputs up by \(2.0, -1.0\)"),
    (lambda: refused(guided(3.0), wrap(field, "eps")), OptionError, r"outputs up by \(1.0,\).*denoiser = the guide"),
    (lambda: refused(wrap(field, "eps"), guided(3.0)), OptionError, r"outputs up by \(3.0, -2.0\)"),
    (lambda: refused(guided(3.0)).load(plan(wrap(field, "eps"))), OptionError, r"outputs up by \(1.0,\)"),
    (lambda: refused(guided(3.0)).load(plan(guided(3.0), steps=9)), PlanError, "make another Sampler"),
    (lambda: Sampler(guided(3.0), plan(guided(3.0)), shape=SHAPE)(None, SEEDS), OptionError, "no condition"),
]


@pytest.mark.parametrize(("make", "error", "message"), BAD)
def test_what_a_guided_sampler_cannot_hold_is_named(make, error, message):
    """Guidance that is not in the plan, and a plan of another guidance, are refused with the way out."""
    with pytest.raises(error, match=message):
        make()
