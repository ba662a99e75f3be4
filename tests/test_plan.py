"""Plans: what they print, how they travel, what they refuse."""

from __future__ import annotations

import json
import math

import pytest
import torch
from instances import HOMES, MOVERS, TRAVELLERS, field, prediction_for

import torchdiff
from torchdiff import get_sde, get_solver
from torchdiff.errors import IncompatibleError, OptionError, PlanError, TorchdiffError
from torchdiff.plans import Plan
from torchdiff.solvers import AffineSolver
from torchdiff.steps import AffineStep


@pytest.mark.parametrize(("solver", "sde"), MOVERS)
def test_json_round_trip_is_exact(solver, sde):
    """A plan comes back from its JSON equal in every bit, and its text is plain JSON without NaN."""
    plan = torchdiff.plan(sde, solver, steps=5)
    text = plan.to_json()
    assert Plan.from_json(text) == plan
    json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} in JSON"))


@pytest.mark.parametrize(("solver", "sde"), MOVERS)
def test_calls_say_the_truth(solver, sde):
    """plan.calls is how often the network is called, the final call included, or None where only out.calls can say."""
    count = 0

    def net(*inputs):
        nonlocal count
        count += 1
        return field(*inputs)

    out = torchdiff.sample(net, sde, solver, steps=4, shape=(2, 3), prediction=prediction_for(sde), seed=0)
    assert out.calls == count
    assert out.plan.calls == (None if get_solver(solver).adaptive else count)
    assert out.plan.steps == 4


@pytest.mark.parametrize(("solver", "sde"), [pair for pair in MOVERS if get_solver(pair[0]).parts()[-1].affine])
def test_weights_are_finite_and_bounded_at_every_number_of_steps(solver, sde):
    """At any number of steps every weight is finite; a row of x amplifies less the finer the grid: sum |w| tends to 1.

    Next to alpha = 0 it tends to a constant: there the first span of log-SNR has no end, and what goes on from it as a
    polynomial has weights that no number of steps makes small.
    """
    growth = {}
    # on vp, flow and CLD `check_solver` plans each number up to 50, and 1000
    last = 1000 if "cld" in sde else 500
    for steps in (*(() if sde in HOMES else range(1, 41)), last // 5, last // 2, last):
        plan = torchdiff.plan(sde, solver, steps=steps)  # a weight that is not finite raises PlanError
        growth[steps] = plan.growth
    # 2: a multistep row next to alpha = 0 (1.86); and the noise of the first step, where G is largest: 6.5 for VE
    process, dt = plan.sde, plan.grid[0].t - plan.grid[1].t
    if plan.grid[0].alpha == 0.0:
        # 16.4 for the cubic of adams:order=4; a first difference has 1.86
        assert growth[last] < (2.0 if solver.partition(":")[0] in TRAVELLERS else 20.0)
        assert abs(growth[last] - growth[last // 2]) <= abs(growth[last // 2] - growth[last // 5])
        return
    assert growth[last] < 2.0 + 2.0 * process.noise(process.t_max)[-1][-1] * math.sqrt(dt)
    # a step is the identity + O(h) + O(sqrt(h)) z; equal where the row of the final interval is the largest
    assert growth[last] <= growth[last // 5]


# network calls of n steps: the first and the last interval, where a formula would divide by 0, are DDIM's one call
ENDS = {
    "ancestral": lambda n: n,
    "ddim": lambda n: n,
    "ddim:eta=0.5": lambda n: n,
    "ddpm": lambda n: n,
    "ddpm:variance=fixed_large": lambda n: n,
    "dpmpp_2m": lambda n: n,
    "euler_maruyama": lambda n: n,
    "heun": lambda n: max(1, 2 * n - 2),
    "ode": lambda n: max(1, 2 * n - 2),
    "ode:method=euler": lambda n: n,
    "predictor_corrector": lambda n: 2 * n,
    "reverse_diffusion": lambda n: n,
    "predictor_corrector:predictor=heun,corrector=(ald:repeat=2)": lambda n: 2 * n + max(1, 2 * n - 2),
}


@pytest.mark.parametrize("solver", ENDS)
@pytest.mark.parametrize("steps", [1, 2, 3, 10, 50])
def test_ends_where_alpha_or_sigma_is_zero(solver, steps):
    """From flow's t = 1 (alpha = 0) to t = 0 (sigma = 0) all is finite; the first step moves x by -alpha_nxt output.

    At alpha = 0 a flow network says x0 = x - output, a v network x0 = -output, and eps = x whatever either says.
    """
    for prediction in ("flow", "v"):
        runs = [
            torchdiff.sample(
                lambda x, t, value=value: torch.full_like(x, value), "flow", solver, steps=steps, shape=(2, 3),
                prediction=prediction, seed=0, dtype=torch.float64, trajectory=True,
            )
            for value in (0.0, 1.0)
        ]  # fmt: skip
        plan = runs[0].plan.check()
        assert (plan.grid[0].alpha, plan.grid[-1].sigma) == (0.0, 0.0)
        assert plan.calls == ENDS[solver](steps)
        assert all(bool(run.trajectory.isfinite().all()) for run in runs)
        moved = runs[1].trajectory[1] - runs[0].trajectory[1]
        assert float((moved + plan.grid[1].alpha).abs().max()) < 1e-14  # x is 5 at most, its last bit 9e-16


def test_non_finite_weights_are_refused_by_step_and_level():
    """A weight that is not finite is refused before any network call, by its step and level."""

    class Bad(AffineSolver):
        def step(self, x, span, predict, noise):
            return (math.inf if span.index == 2 else 1.0) * predict(x, span.cur).x0

    with pytest.raises(PlanError, match=r"inf in step 2, from t = .* \(alpha = .*t_max or t_min"):
        torchdiff.plan("vp", Bad(), steps=4)


def test_a_formula_that_is_not_affine_is_refused():
    """An AffineSolver that multiplies two forms gets a TypeError that says where such a formula belongs."""

    class Square(AffineSolver):
        def step(self, x, span, predict, noise):
            return x * predict(x, span.cur).x0

    with pytest.raises(TypeError, match="derives from Solver"):
        torchdiff.plan("vp", Square(), steps=2)


def test_table_names_everything():
    """The table has a line a row with step, level, call, weights, draws and sum |w|, and shortens a long plan."""
    plan = torchdiff.plan("vp", "ddpm", steps=3)
    text = str(plan)
    assert "4 network calls" in text
    assert "3 draws" in text
    assert len(text.splitlines()) == 3 + 4
    for item in plan.items:
        assert isinstance(item, AffineStep)
        assert f"{item.weights[0][0]:+.4f} s0" in text
    long = torchdiff.plan("vp", "ddpm", steps=500)
    assert len(str(long).splitlines()) < 50
    assert len(long.table().splitlines()) == 3 + 501


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "{}", '{"format": 1}', '{"format": 99}', "null", '{"format": 1, "sde": "vp", "solver": "ddim"}'],
)
def test_broken_json_is_one_clear_error(text):
    """Text that is no plan raises PlanError, never a traceback of ours."""
    with pytest.raises(PlanError):
        Plan.from_json(text)


def test_calls_buys_the_most_steps():
    """calls = n gives the most steps that cost at most n network calls, and says so when none does."""
    for solver, calls, steps in [("ddim", 20, 19), ("heun", 20, 9), ("heun", 21, 10), ("predictor_corrector", 20, 9)]:
        plan = torchdiff.plan("vp", solver, calls=calls)
        assert plan.steps == steps
        assert plan.calls <= calls
    with pytest.raises(OptionError, match="one step costs 3"):
        torchdiff.plan("vp", "heun", calls=2)


BAD_WISHES = [
    (dict(), "one of steps, calls, times and sigmas"),
    (dict(steps=3, calls=3), "got steps, calls"),
    (dict(steps=0), "positive whole number, got 0"),
    (dict(steps=-2), "got -2"),
    (dict(steps=2.5), "got 2.5"),
    (dict(steps=True), "got True"),
    (dict(calls=0), "calls must be"),
    (dict(times=[0.5]), "at least 2 times"),
    (dict(times=[0.9, 0.5, 0.5]), r"times\[1\] = 0.5 and times\[2\]"),
    (dict(times=[0.9, 0.5, 0.7]), r"times\[2\] = 0.7"),
    (dict(times=[1.5, 0.5]), r"outside \[0, 1\]"),
    (dict(times=[0.9, math.nan]), "nan"),
    (dict(times=[0.9, 0.1], grid="uniform"), "cannot be given beside"),
    (dict(steps=3, t_min=0.9, t_max=0.5), "t_max down to t_min"),
    (dict(steps=3, t_max=2.0), "2.0 is outside"),
    (dict(steps=3, t_min=-0.1), "-0.1 is outside"),
    (dict(steps=3, final="x"), "'denoise' or 't_min'"),
    (dict(times=[0.1, 0.9], final="denoise"), "increasing times end at noise"),
    (dict(steps=3, grid="karass"), "karras"),
    (dict(steps=3, prediction="noise"), "known: .*eps.*v, x0"),
    (dict(steps=3, prediction="v", denoiser=torchdiff.wrap(None, "eps")), "says otherwise"),
]


@pytest.mark.parametrize(("wish", "message"), BAD_WISHES)
def test_bad_wishes_are_named(wish, message):
    """A wish that cannot be met raises one TorchdiffError that names the argument and its value."""
    with pytest.raises(TorchdiffError, match=message):
        torchdiff.plan("vp", "ddim", **wish)


def test_unknown_names_list_the_nearest():
    """An unknown solver or SDE is answered with the nearest known name."""
    with pytest.raises(TorchdiffError, match="dpmpp_2m"):
        torchdiff.plan("vp", "dpmpp2m", steps=2)
    with pytest.raises(TorchdiffError, match="cld"):
        torchdiff.plan("clld", "ddim", steps=2)


@pytest.mark.parametrize(
    ("solver", "sde"),
    [("dpmpp_2m", "cld:mass=1"), ("heun", "cld"), ("sscs", "vp:beta_1=15"), ("sscs", "flow"), ("ddpm", "cld")],
)
def test_what_does_not_go_together_is_named(solver, sde):
    """A solver that does not fit raises IncompatibleError that shows it, the SDE, and solvers that do fit it."""
    with pytest.raises(IncompatibleError) as caught:
        torchdiff.plan(sde, solver, steps=3)
    message = str(caught.value)
    assert repr(get_solver(solver)) in message
    assert repr(get_sde(sde)) in message
    names = message.partition("solvers for it: ")[2].split(", ")
    assert solver not in names
    for name in names:
        torchdiff.plan(sde, name, steps=3)


def test_a_chain_that_does_not_fit_names_the_part():
    """In a chain it is the part that does not fit that is shown, beside the SDE."""
    with pytest.raises(IncompatibleError) as caught:
        torchdiff.plan("vp", "predictor_corrector:predictor=sscs", steps=3)
    assert "solver SSCS()" in str(caught.value)
    assert repr(get_sde("vp")) in str(caught.value)


def test_a_network_that_says_nothing_at_the_start_is_named():
    """An eps network at alpha = 0 raises IncompatibleError with the level and two ways out, both of which work."""
    with pytest.raises(IncompatibleError, match=r"at t = 1 \(alpha = 0, sigma = 1\).*t_max.*v or flow network"):
        torchdiff.plan("flow", "ddim", steps=3, prediction="eps")
    torchdiff.plan("flow", "ddim", steps=3, prediction="eps", t_max=0.999)
    torchdiff.plan("flow", "ddim", steps=3, prediction="flow")


def test_encoding_needs_a_deterministic_solver():
    """Increasing times run for solvers that draw no noise, and `deterministic` says exactly which those are."""
    for solver, sde in MOVERS:
        forward = [0.05, 0.2, 0.6]
        if get_solver(solver).deterministic:
            assert torchdiff.plan(sde, solver, times=forward).draws == ()
        else:
            plan = torchdiff.plan(sde, solver, steps=3)
            assert plan.draws or any(not isinstance(item, AffineStep) for item in plan.items)
            with pytest.raises(IncompatibleError, match=r"deterministic ones: .*(ddim|ode)"):
                torchdiff.plan(sde, solver, times=forward)


def test_planning_is_quick():
    """A thousand steps are planned well within a second: the coefficients cost less than a few network calls."""
    import time

    start = time.perf_counter()
    torchdiff.plan("vp", "dpmpp_2m", steps=1000)
    assert time.perf_counter() - start < 1.0  # measured 0.08 s; 1 s allows for a machine under load


def test_sde_objects_are_values():
    """Equal specs are equal objects, so that a plan can be compared with the one that came back from a file."""
    assert get_sde("vp:beta_1=15") == get_sde("vp:beta_1=15.0") != get_sde("vp")
