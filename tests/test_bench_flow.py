"""Laws of diffusers' flow-matching schedulers in a bench: on flow they are our Euler and Heun on their own times."""

from __future__ import annotations

import pytest
import torch

import torchdiff
from torchdiff.bench.contenders import Scene
from torchdiff.bench.entrants import contender
from torchdiff.errors import IncompatibleError, OptionError

pytest.importorskip("diffusers")
FLOW = torchdiff.get_sde("flow")
NET = torchdiff.get_target("gmm2d").denoiser(FLOW)
EULER, HEUN = "diffusers:FlowMatchEulerDiscreteScheduler", "diffusers:FlowMatchHeunDiscreteScheduler"
# of values to 3, in 13 calls of a float32 network, over steps that do not amplify
CLOSE = {"rtol": 0.0, "atol": 2e-6}


def scene(sde: str = "flow", net=NET) -> Scene:
    return Scene(torchdiff.get_sde(sde), net, (2,), lambda first, count: {}, torch.float32, torch.device("cpu"))


def theirs(spec: str, count: int):
    """(their samples, their times from 1 to 0), of the start that `torchdiff.sample` has for seed 5."""
    one = contender(spec)
    ready = one.ready(scene(), "calls", count, None)
    x, finite = one.sample(scene(), ready, 5, 0, 40)
    assert finite.all()
    return x, list(dict.fromkeys(one._build(scene(), ready.steps).sigmas.double().tolist()))


def ours(solver: str, times: list[float], **start) -> torch.Tensor:
    start = start or {"shape": (40, 2)}
    return torchdiff.sample(NET, "flow", solver, times=times, seed=5, final="t_min", **start).x


@pytest.mark.parametrize(
    ("options", "count"),
    [("", 1), ("", 7), (":shift=3.0", 7), (":use_karras_sigmas=true", 7), (":shift_terminal=0.1", 7)],
)
def test_flow_euler_is_ours(options, count):
    """FlowMatchEuler is `euler`, which on flow is `ddim`, with the same calls."""
    x, times = theirs(EULER + options, count)
    assert len(times) == count + 1
    for solver in ("euler", "ddim"):
        torch.testing.assert_close(x, ours(solver, times), **CLOSE)


@pytest.mark.parametrize("options", ["", ":shift=3.0"])
def test_flow_heun_is_ours_but_for_the_first_step(options):
    """FlowMatchHeun takes Heun's step from alpha = 0 too, where `ode:method=heun` takes DDIM's: after that they agree.

    The first step by its formula, x + h/2 (v(x, 1) + v(x + h v(x, 1), 1 + h)); then theirs end as ours goes on.
    """
    x, times = theirs(HEUN + options, 13)
    assert len(times) == 8
    first = _noise()
    h = times[1] - times[0]
    euler = first + h * _velocity(first, times[0])
    second = first + 0.5 * h * (_velocity(first, times[0]) + _velocity(euler, times[1]))
    # their derivative is a difference of values to 3 over sigma = 0.001, times h / 2 = 0.08: 1.4e-5 of rounding
    torch.testing.assert_close(x, ours("ode:method=heun", times[1:], x=second), rtol=0.0, atol=2e-5)
    # the control: with our first step they are far apart
    assert float((x - ours("ode:method=heun", times)).abs().max()) > 1e-3


def _noise() -> torch.Tensor:
    draw = torchdiff.counters.draw_number(torchdiff.counters.PRIOR, block=0)
    return torchdiff.noise.normal((40, 2), seed=5, draw=draw)


def _velocity(x: torch.Tensor, t: float) -> torch.Tensor:
    """eps - x0 of what the exact network, of v = alpha eps - sigma x0, says at x = alpha x0 + sigma eps."""
    level = FLOW.level(t)
    v, square = NET(x, level)[0], level.alpha**2 + level.sigma**2
    x0, eps = (level.alpha * x - level.sigma * v) / square, (level.sigma * x + level.alpha * v) / square
    return eps - x0


@pytest.mark.parametrize("count", [1, 2, 6, 13])
def test_flow_calls_are_those_that_are_promised(count):
    """Euler: a call a step. Heun: two, but for the last step to the data, which is Euler's."""
    for spec, calls in ((EULER, count), (HEUN, 2 * ((count + 1) // 2) - 1)):
        seen = []
        net = torchdiff.wrap(lambda x, t: seen.append(t) or NET.net(x, t), "v")  # noqa: B023
        one = contender(spec)
        ready = one.ready(scene(), "calls", count, None)
        one.sample(scene(net=net), ready, 0, 0, 3)
        assert ready.calls == len(seen) == calls


@pytest.mark.parametrize("spec", [EULER, HEUN])
@pytest.mark.parametrize(
    ("sde", "message"),
    [("vp", "knows the process flow only"), ("cld", "one-block"), ("flow:t_max=0.999", "begins at sigma = 1.*0.999")],
)
def test_another_process_is_refused_by_name(spec, sde, message):
    """Their sigmas are the times of flow, from 1 on."""
    with pytest.raises(IncompatibleError, match=message):
        contender(spec).ready(scene(sde), "steps", 4, None)


@pytest.mark.parametrize("option", ["invert_sigmas=true", "num_train_timesteps=10"])
def test_options_that_are_the_benchs_own_are_refused(option):
    """Another direction, another unit of time: the network would be asked at other times than it was trained on."""
    with pytest.raises(OptionError, match="no option"):
        contender(f"{EULER}:{option}")


def test_dynamic_shifting_is_refused_with_their_reason():
    """It wants a number that the bench has not."""
    with pytest.raises(IncompatibleError, match="mu"):
        contender(f"{EULER}:use_dynamic_shifting=true").ready(scene(), "steps", 4, None)
