"""The plan says the same as the formula, and says it with as few tensors as the formula allows."""

from __future__ import annotations

import pytest
import torch
from instances import MOVERS, field, prediction_for

import torchdiff
from torchdiff.blocks import Blocks
from torchdiff.denoiser import Denoiser
from torchdiff.planner import request
from torchdiff.testing.solver_laws import SEED, SHAPE, STEPS, formula

NO_WISH = dict(calls=None, times=None, grid=None, t_min=None, t_max=None, final=None)


def stepped(solver: str, sde: str, denoiser: Denoiser, frames: list | None = None) -> tuple[torch.Tensor, ...]:
    """The solver's own step on float64 tensors, from the driver, with no plan in between."""
    wish = request(sde, solver, denoiser, steps=STEPS, **NO_WISH)
    after = None if frames is None else lambda _, x: frames.append(x[0] if isinstance(x, Blocks) else x)
    return formula(wish, denoiser, after=after)


class Pair(Denoiser):
    """Two outputs mixed as guidance mixes them, and an input scale: what a plan folds into its weights."""

    def mix(self, level):
        return (1.5, -0.5)

    def __call__(self, *inputs):
        (out,) = super().__call__(*inputs)
        return out, 0.5 * out


def both(solver: str, sde: str, denoiser: Denoiser) -> tuple[float, float]:
    got = torchdiff.sample(denoiser, sde, solver, steps=STEPS, shape=SHAPE, seed=SEED, dtype=torch.float64)
    want = stepped(solver, sde, denoiser)
    scale = max(float(w.abs().max()) for w in want)
    return max(float((g - w).abs().max()) for g, w in zip(got.state, want, strict=True)), scale


# 1e-12 relative: sums in another order differ by the rounding of a few dozen float64 terms, amplified by the weights
# of an early step (47 at most here); the prototype of these types saw 5e-14.
@pytest.mark.parametrize(("solver", "sde"), MOVERS)
def test_traced_equals_formula_on_tensors(solver, sde):
    """A plan run by the executor gives what the formula gives on tensors, for every registered solver and SDE."""
    error, scale = both(solver, sde, torchdiff.wrap(field, prediction_for(sde)))
    assert error <= 1e-12 * scale


@pytest.mark.parametrize("prediction", ["eps", "x0", "v", "score", "flow"])
@pytest.mark.parametrize("solver", ["ddim:eta=0.5", "dpmpp_2m", "heun", "ode", "euler_maruyama", "predictor_corrector"])
def test_traced_equals_formula_for_every_prediction(solver, prediction):
    """So it does for what a network may predict, with an input scale and two mixed outputs folded into the weights."""
    error, scale = both(solver, "vp", Pair(field, prediction, input_scale=lambda level: 1.0 / (1.0 + level.sigma)))
    assert error <= 1e-12 * scale


@pytest.mark.parametrize(("solver", "sde"), MOVERS)
def test_trajectory_is_the_formula_at_every_level(solver, sde):
    """A watched plan shows x after every interval, and the same answer bit for bit as one that is not watched."""
    denoiser, frames = torchdiff.wrap(field, prediction_for(sde)), []
    options = dict(steps=STEPS, shape=SHAPE, seed=SEED, dtype=torch.float64)
    watched = torchdiff.sample(denoiser, sde, solver, trajectory=True, **options)
    stepped(solver, sde, denoiser, frames)
    assert len(watched.trajectory) == len(watched.plan.grid) == len(frames) + 1
    for got, want in zip(watched.trajectory[1:], frames, strict=True):
        assert float((got - want).abs().max()) <= 1e-12 * max(1.0, float(want.abs().max()))
    assert torch.equal(watched.x, torchdiff.sample(denoiser, sde, solver, **options).x)


# solver, sde: ops a step, reads, rows, draws, network calls: the sizes that the formulas need, worked out by hand
SIZES = {
    ("ddim", "vp"): (1, 2, 1, 0, 1),
    ("ddpm", "vp"): (1, 2, 1, 1, 1),
    ("euler_maruyama", "vp"): (1, 2, 1, 1, 1),
    ("euler_maruyama", "cld"): (1, 3, 2, 1, 1),
    ("heun", "vp"): (2, 3, 1, 0, 2),
    ("dpmpp_2m", "vp"): (1, 3, 2, 0, 1),
    ("ode:method=euler", "cld"): (1, 3, 2, 0, 1),
    ("sscs", "cld"): (1, 3, 2, 4, 1),
}


@pytest.mark.parametrize(("solver", "sde"), SIZES)
def test_plans_are_minimal(solver, sde):
    """A step in the middle of a run costs the ops, reads, rows and draws that its formula needs, and no more."""
    plan = torchdiff.plan(sde, solver, steps=9)
    items = [item for item in plan.items if item.step == 5]
    ops, reads, rows, draws, calls = SIZES[solver, sde]
    assert len(items) == ops
    assert sum(item.at is not None for item in items) == calls
    assert max(len(item.reads) for item in items) == reads
    assert max(len(item.weights) for item in items) == rows
    assert max(len(item.draws) for item in items) == draws


def test_live_tensors_do_not_grow():
    """The state of a long multistep run stays as small as that of a short one."""
    plan = torchdiff.plan("vp", "dpmpp_2m", steps=60)
    assert max(len(item.weights) + len(item.keep) for item in plan.items) <= 2
