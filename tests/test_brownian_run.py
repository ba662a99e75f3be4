"""Sampling on a Brownian path: one seed is one path, at any number of steps and for every solver."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

import pytest
import torch
from instances import MOVERS, field, prediction_for

import torchdiff
from torchdiff import brownian, gaussian, noise
from torchdiff.counters import block_of
from torchdiff.errors import IncompatibleError, OptionError, PlanError
from torchdiff.execute import execute
from torchdiff.plans import Plan
from torchdiff.sde import ScalarSDE
from torchdiff.solvers import AffineSolver, EulerMaruyama, Solver
from torchdiff.steps import AffineStep
from torchdiff.ticks import rounded

AFFINE = [(solver, sde) for solver, sde in MOVERS if all(part.affine for part in torchdiff.get_solver(solver).parts())]
OVERLAPS = ("dpmpp_sde",)  # two draws over intervals that share a part, as its source has them
AFFINE = [pair for pair in AFFINE if pair[0] not in OVERLAPS]
STOCHASTIC = [pair for pair in AFFINE if not torchdiff.get_solver(pair[0]).deterministic]


def contract(x, t):
    """A score that pulls every state together: the reverse VP equation with it has a drift of -beta tanh(x)."""
    return -0.5 * x - torch.tanh(x)


def final(solver, steps, kind, sde="vp", net=contract, **options):
    out = torchdiff.sample(
        net, sde, solver, steps=steps, shape=(4, 500), prediction="score", seed=1, noise=kind, dtype=torch.float64,
        final="t_min", grid="uniform", t_min=0.1, **options,
    )  # fmt: skip
    return torch.stack(out.state)


def push(x, v, t):
    """A score for CLD that pulls the velocity towards a bounded function of the position."""
    return -v - torch.sin(x)


@pytest.mark.parametrize(
    ("solver", "sde", "net"),
    [
        ("euler_maruyama", "vp", contract),
        ("ddpm", "vp", contract),
        ("ddim:eta=1", "vp", contract),
        ("euler_maruyama", "cld:mass=1,beta=1,t_max=3", push),
        ("sscs", "cld:mass=1,beta=1,t_max=3", push),
    ],
)
def test_more_steps_refine_one_path(solver, sde, net):
    """The rms distance of the samples at N and 2N steps halves with each doubling: additive noise, strong order 1.

    The slope from 80 to 640 steps lies within 0.1 of 1; terms of second order and 2000 values leave 0.04. With white
    noise the distance stays where it is, within a fifth.
    """
    runs = {kind: [final(solver, 20 * 2**k, kind, sde, net) for k in range(count)]
            for kind, count in (("brownian", 6), ("white", 4))}  # fmt: skip
    distance = {
        kind: [float((a - b).square().mean().sqrt()) for a, b in itertools.pairwise(ends)]
        for kind, ends in runs.items()
    }
    slope = math.log2(distance["brownian"][2] / distance["brownian"][-1]) / 2.0
    assert abs(slope - 1.0) <= 0.1, distance["brownian"]
    assert abs(distance["white"][-1] / distance["white"][0] - 1.0) <= 0.2, distance["white"]


class Motion(ScalarSDE):
    """dx = dw."""

    t_min, t_max = 0.0, 2.5

    def alpha(self, t):
        return 1.0

    def sigma(self, t):
        return math.sqrt(t)

    def rates(self, t):
        return 0.0, 0.5 / math.sqrt(t) if t > 0.0 else math.inf


@pytest.mark.parametrize("steps", [1, 7, 20, 40])
def test_steps_add_up_to_the_path(steps):
    """Euler-Maruyama on dx = dw with score 0 moves x by W(end) - W(start) of noise.brownian, at any number of steps.

    2e-5: increments of 0.2 at 40 steps, divided by the root of lengths that are rounded to ticks, 3e-6 of their own.
    """
    x = torch.zeros(3, 5, dtype=torch.float64)
    options = dict(prediction="score", seed=9, first_index=4, final="t_min", grid="uniform", t_min=0.5)
    out = torchdiff.sample(lambda x, t: x * 0, Motion(), EulerMaruyama(), steps=steps, x=x, noise="brownian", **options)
    path = noise.brownian((3, 5), [2.5, 0.5], seed=9, first_index=4, horizon=2.5, dtype=torch.float64)
    assert (out.x - path[0]).abs().max() <= 2e-5


def normals_of(plan, shape, seed):
    """draw -> its standard normal, from the public functions: increments by the root of their rounded lengths.

    An area is the mean of W - W(start) over the interval less half of the increment, by the root of length / 12.
    """
    spans = {draw: (start, end) for draw, start, end in (*plan.spans, *plan.areas)}
    areas = {draw for draw, *_ in plan.areas}

    def normal(draw):
        if draw not in spans:
            return noise.normal(shape, seed=seed, draw=draw, dtype=torch.float64)
        start, end = rounded(spans[draw], plan.sde.t_max)
        options = dict(seed=seed, horizon=plan.sde.t_max, path=block_of(draw), dtype=torch.float64)
        (w,), (integral,) = noise.brownian(shape, spans[draw], integral=True, **options)
        if draw in areas:
            return (integral / (end - start) - 0.5 * w) * math.sqrt(12.0 / abs(end - start))
        return w / math.sqrt(abs(end - start))

    return normal


@pytest.mark.parametrize(("solver", "sde"), STOCHASTIC)
def test_a_run_is_its_plan_with_the_path_s_normals(solver, sde):
    """Every solver: `sample` equals the plan's rows in plain torch, on normals from noise.brownian, to rounding."""
    options = dict(steps=5, prediction=prediction_for(sde), noise="brownian")
    plan = torchdiff.plan(sde, solver, **options)
    still = torchdiff.get_solver(solver).parts()[-1].deterministic or solver == "edm:churn=20"  # drawn at one level
    assert bool(plan.spans) != still
    shape, blocks = (2, 6), plan.blocks
    start = tuple(noise.normal(shape, seed=3, draw=77 + b, dtype=torch.float64) for b in range(blocks))
    out = torchdiff.sample(field, sde, solver, x=start, seed=3, **options)
    normal = normals_of(plan, shape, 3)
    denoiser = torchdiff.wrap(field, options["prediction"])

    def network(inputs, step, state):
        return denoiser(*inputs, step.at)

    def combine(index, step, tensors):
        z = [normal(draw) for draw in step.draws]
        rows = zip(step.weights, step.noise, strict=True)
        return [sum(w * t for w, t in zip((*a, *b), (*tensors, *z), strict=True)) for a, b in rows]

    mine = execute(plan, start, network, combine, lambda step, x: pytest.fail("no opaque steps here"))
    for found, expected in zip(out.state, mine, strict=True):
        # 1e-11: five steps of float64 sums in another order, by weights up to 50
        assert (found - expected).abs().max() <= 1e-11 * expected.abs().max()


@pytest.mark.parametrize(("solver", "sde"), AFFINE)
def test_plans_on_a_path_have_the_law_of_white_ones(solver, sde):
    """Increments over disjoint intervals, normalised, are independent normals: the same rows and the same exact law."""
    options = dict(steps=4, prediction="score" if sde != "flow" else "flow")
    white, path = (torchdiff.plan(sde, solver, noise=kind, **options) for kind in ("white", "brownian"))
    assert path.items == white.items
    assert Plan.from_json(path.to_json()) == path
    for found, expected in zip(gaussian.moments(path, 0.3), gaussian.moments(white, 0.3), strict=True):
        assert (found == expected).all()


@pytest.mark.parametrize("solver", OVERLAPS)
def test_draws_over_intervals_that_overlap_are_refused(solver):
    """Their increments of one path are not independent, which the formula takes for granted."""
    with pytest.raises(PlanError, match="overlap.*noise='white'"):
        torchdiff.plan("vp", solver, steps=3, noise="brownian")


def test_the_plan_shows_its_intervals():
    """Each draw on a path is printed with the times between which the path moves."""
    text = str(torchdiff.plan("vp", "ddpm", times=[0.75, 0.5, 0.25], noise="brownian", final="t_min"))
    assert "z(0: 0.75 to 0.5)" in text
    assert "z(32768: 0.5 to 0.25)" in text
    assert "(2 of Brownian paths)" in text


def test_deterministic_solvers_have_no_path():
    """Where nothing is drawn but the start, both kinds of noise give the same bits."""
    options = dict(steps=4, shape=(2, 3), prediction="eps", seed=1)
    kinds = [torchdiff.sample(field, "vp", "dpmpp_2m", noise=kind, **options) for kind in ("white", "brownian")]
    assert torch.equal(kinds[0].x, kinds[1].x)
    assert kinds[1].plan.spans == ()


def test_samples_do_not_depend_on_the_batch_or_on_what_is_made_ahead(monkeypatch):
    """Sample 2 of 5 alone, and increments made one at a time, give the same bits."""
    options = dict(steps=6, prediction="score", noise="brownian", seed=5)
    whole = torchdiff.sample(push, "cld", "sscs", shape=(5, 7), **options).x
    alone = torchdiff.sample(push, "cld", "sscs", shape=(1, 7), first_index=2, **options).x
    assert torch.equal(alone[0], whole[2])
    monkeypatch.setattr(brownian, "AHEAD", 0)
    assert torch.equal(torchdiff.sample(push, "cld", "sscs", shape=(5, 7), **options).x, whole)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_states_get_float32_increments(dtype):
    """A step from x = 0 with weights that float16 holds is the float32 step, rounded once."""
    options = dict(times=[1.0, 0.5], prediction="score", seed=2, noise="brownian", final="t_min")
    halves, single = (
        torchdiff.sample(lambda x, t: x * 0, "vp", "euler_maruyama", x=torch.zeros(2, 9, dtype=d), **options).x
        for d in (dtype, torch.float32)
    )
    assert torch.equal(halves, single.to(dtype))


class Asks(AffineSolver):
    """Adds noise over the intervals that `asked` makes of the step's two levels."""

    def __init__(self, asked):
        self.asked = asked

    def step(self, x, span, predict, noise):
        x = span.nxt.alpha * predict(x, span.cur).x0
        for weight, (start, end) in enumerate(self.asked(span.sde, span.cur, span.nxt), start=1):
            x = x + weight * noise(start, end)
        return x


def middle(sde, cur, nxt):
    return sde.level(0.5 * (cur.t + nxt.t))


def test_halves_of_a_step_have_the_path_s_increments():
    """Two noises over the halves of a step are both on the path."""
    halves = Asks(lambda sde, cur, nxt: [(cur, middle(sde, cur, nxt)), (middle(sde, cur, nxt), nxt)])
    plan = torchdiff.plan("vp", halves, times=[1.0, 0.5, 0.25], noise="brownian", final="t_min")
    assert [span[1:] for span in plan.spans] == [(1.0, 0.75), (0.75, 0.5), (0.5, 0.375), (0.375, 0.25)]


@pytest.mark.parametrize(
    "asked",
    [
        lambda sde, cur, nxt: [(cur, nxt), (cur, nxt)],
        lambda sde, cur, nxt: [(cur, nxt), (nxt, cur)],
        lambda sde, cur, nxt: [(cur, cur), (cur, nxt)],
    ],
    ids=["twice", "there and back", "empty"],
)
def test_empty_and_repeated_intervals_are_white(asked):
    """Of two noises one is on the path: over an interval asked for again, or an empty one, the draw is white."""
    plan = torchdiff.plan("vp", Asks(asked), times=[1.0, 0.5], noise="brownian", final="t_min")
    assert len(plan.draws) == 2
    assert [span[1:] for span in plan.spans] == [(1.0, 0.5)]


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        (lambda sde, cur, nxt: [(cur, nxt), (cur, middle(sde, cur, nxt))], "overlap from t = 0.75 to t = 1.0"),
        (lambda sde, cur, nxt: [(middle(sde, cur, nxt), nxt), (cur, nxt)], "overlap from t = 0.5 to t = 0.75"),
        (lambda sde, cur, nxt: [(cur, sde.level(0.4))], "in a step from t = 1.0 to t = 0.5"),
        (lambda sde, cur, nxt: [(cur, sde.level(1.0 - 1e-8))], "shorter than the ticks"),
    ],
    ids=["nested", "nested the other way", "beyond the step", "too short"],
)
@pytest.mark.parametrize("affine", [True, False])
def test_intervals_without_an_increment_are_refused(asked, message, affine):
    """Overlapping intervals, intervals beyond the step and intervals below a tick: PlanError, on forms and tensors."""
    solver = Asks(asked)
    if not affine:
        solver = type("AsksOnTensors", (Asks,), {"affine": False})(asked)
    options = dict(times=[1.0, 0.5], final="t_min", prediction="eps", noise="brownian")
    with pytest.raises(PlanError, match=message):
        torchdiff.sample(lambda x, t: x, "vp", solver, shape=(1, 2), **options)


@dataclass(frozen=True)
class OnTensors(Solver):
    """Euler-Maruyama as an opaque step."""

    def step(self, x, span, predict, noise):
        return EulerMaruyama().step(x, span, predict, noise)


@pytest.mark.parametrize(("sde", "net"), [("vp", contract), ("cld", push)])
def test_steps_on_tensors_are_on_the_same_path(sde, net):
    """The formula run on tensors, as an opaque step, gives the samples of its plan, to the rounding of float64."""
    affine, opaque = (final(solver, 10, "brownian", sde, net) for solver in ("euler_maruyama", OnTensors()))
    # 1e-12: ten steps of sums of magnitude 10 in another order
    assert (affine - opaque).abs().max() <= 1e-12


def test_a_corrector_keeps_white_noise():
    """Predictor-corrector: the predictor's draws are on the path, the corrector's are not, in rows and on tensors."""
    chain = "predictor_corrector:predictor=ddpm,corrector=(ald:repeat=2)"
    plan = torchdiff.plan("vp", chain, steps=4, noise="brownian")
    assert len(plan.draws) == 14  # the corrector acts in the last interval too
    assert len(plan.spans) == 4
    options = dict(steps=4, shape=(2, 3), prediction="eps", seed=1, noise="brownian")
    langevin = torchdiff.sample(field, "vp", "predictor_corrector", **options)
    assert len(langevin.plan.spans) == 4
    assert sum(not isinstance(item, AffineStep) for item in langevin.plan.items) == 5


def test_steps_below_a_tick_are_refused_before_any_call():
    """A grid finer than 2^-24 of the path is refused by name, for rows and for steps on tensors, before the network."""
    options = dict(times=[0.5, 0.5 - 1e-8], final="t_min", prediction="score", noise="brownian", shape=(1, 2))
    for solver in ("euler_maruyama", OnTensors()):
        with pytest.raises(PlanError, match="shorter than the ticks .* take fewer steps"):
            torchdiff.sample(lambda x, t: pytest.fail("called"), "vp", solver, **options)
    torchdiff.plan("vp", "ddim", times=options["times"], noise="brownian")  # draws nothing: nothing to refuse


def test_unknown_noise_is_refused():
    """A name that is neither is refused by name, by `plan` and by `sample`."""
    with pytest.raises(OptionError, match="noise is 'white' or 'brownian', got 'pink'"):
        torchdiff.plan("vp", "ddpm", steps=3, noise="pink")
    with pytest.raises(OptionError, match="noise is 'white' or 'brownian', got None"):
        torchdiff.sample(field, "vp", "ddpm", steps=3, shape=(1, 2), prediction="eps", noise=None)
    with pytest.raises(IncompatibleError):
        torchdiff.sample(field, "vp", "ddpm", times=[0.1, 0.5], x=torch.zeros(1, 2), prediction="eps", noise="brownian")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("[0, 0.75, 0.5]", "[0, 0.75, 0.4]", "overlap"),
        ("[0, 0.75, 0.5]", "[0, 0.75, 7.5]", "has no interval"),
        ("[0, 0.75, 0.5]", '[0, 0.75, "x"]', "could not convert|not the JSON"),
        ('"noise": "brownian"', '"noise": "white"', "only the latter has spans"),
        ('"noise": "brownian"', '"noise": "pink"', "got 'pink'"),
    ],
)
def test_spans_of_a_file_are_checked(old, new, message):
    """A plan from a file whose intervals overlap, lie outside or contradict its noise is refused."""
    plan = torchdiff.plan("vp", "ddpm", times=[0.75, 0.5, 0.25], noise="brownian", final="t_min")
    text = plan.to_json()
    assert old in text
    with pytest.raises(ValueError, match=message):
        Plan.from_json(text.replace(old, new, 1))


def test_one_path_a_block():
    """The blocks of a CLD state have paths of their own: draws of both, over the same intervals, on paths 0 and 1."""
    plan = torchdiff.plan("cld", "sscs", times=[0.5, 0.25], noise="brownian", final="t_min")
    assert [(block_of(draw), start, end) for draw, start, end in plan.spans] == [
        (0, 0.5, 0.375), (1, 0.5, 0.375), (0, 0.375, 0.25), (1, 0.375, 0.25),
    ]  # fmt: skip
