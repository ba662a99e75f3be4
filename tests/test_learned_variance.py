"""Networks that tell a variance: every solver reads their prediction, ddpm:variance=learned_range the rest too."""

import math

import networks
import pytest
import torch

import torchdiff
from torchdiff import Sampler, wrap
from torchdiff.errors import IncompatibleError, NetworkError, OptionError
from torchdiff.noise import STEP, draw_number, normal
from torchdiff.planner import plan
from torchdiff.steps import AffineStep, OpaqueStep

SHAPE = (3, 2, 4)
RUN = dict(steps=6, shape=SHAPE, seed=5, dtype=torch.float64)
TABLE = [1.0, 0.7, 0.4, 0.2, 0.05, 0.01]


def eps(x, t):
    return networks.ddpm_index(x, 1000.0 * t - 1.0)


def both(say):
    """eps and what `say(x, t)` says of the variance, (B, 4, ...) from (B, 2, ...)."""
    return wrap(lambda x, t: torch.cat([eps(x, t), say(x, t)], dim=1), "eps", variance=True)


@pytest.mark.parametrize(("sde", "prediction"), [("vp", "eps"), ("ve", "eps"), ("flow", "flow"), ("ddpm", "v")])
@pytest.mark.parametrize(("said", "fixed"), [(-1.0, "fixed_small"), (1.0, "fixed_large")])
def test_the_ends_of_the_range_are_the_fixed_variances(sde, prediction, said, fixed):
    """v = -1 is fixed_small, v = 1 fixed_large, on every one-block SDE, on the same noise."""
    net = lambda x, t: 0.3 * torch.tanh(x) + 0.1  # noqa: E731
    told = wrap(lambda x, t: torch.cat([net(x, t), torch.full_like(x, said)], 1), prediction, variance=True)
    learned = torchdiff.sample(told, sde, "ddpm:variance=learned_range", **RUN)
    wanted = torchdiff.sample(net, sde, f"ddpm:variance={fixed}", prediction=prediction, **RUN)
    assert (learned.x - wanted.x).abs().max() <= 1e-12 * wanted.x.abs().max()  # rounding of 6 steps


def test_each_step_is_the_papers():
    """x = mu + exp((f log beta + (1 - f) log beta~) / 2) z, f = (v + 1) / 2, beta = 1 - abar_cur / abar_nxt."""
    say = lambda x, t: torch.sin(3.0 * x + t.reshape(-1, 1, 1))  # noqa: E731
    x = start = normal(SHAPE, seed=1, dtype=torch.float64)
    for i in range(len(TABLE) - 1):
        t = torch.full((3,), TABLE[i], dtype=torch.float64)
        (m, std), (m_nxt, _) = (networks.vp(torch.tensor(s, dtype=torch.float64)) for s in TABLE[i : i + 2])
        abar, abar_nxt = float(m**2), float(m_nxt**2)
        beta = 1.0 - abar / abar_nxt
        beta_tilde = beta * (1.0 - abar_nxt) / (1.0 - abar)
        x0 = (x - std * eps(x, t)) / m
        mean = math.sqrt(abar_nxt) * beta / (1 - abar) * x0 + math.sqrt(1 - beta) * (1 - abar_nxt) / (1 - abar) * x
        frac = (say(x, t) + 1.0) / 2.0
        z = normal(SHAPE, seed=9, draw=draw_number(STEP, i), dtype=torch.float64)
        x = mean + torch.exp(0.5 * (frac * math.log(beta) + (1.0 - frac) * math.log(beta_tilde))) * z
    out = torchdiff.sample(both(say), "vp", "ddpm:variance=learned_range", times=TABLE, final="t_min", x=start, seed=9)
    assert (out.x - x).abs().max() <= 1e-12  # 1 - abar at t = 0.01 keeps 13 digits
    assert len(out.plan.items) == out.plan.calls == len(TABLE) - 1


@pytest.mark.parametrize("solver", ["ddim", "dpmpp_2m", "heun", "predictor_corrector"])
def test_every_solver_reads_the_prediction_alone(solver):
    """With a variance told beside it, even one that is not a number to them: the same bits as without."""
    wanted = torchdiff.sample(eps, "vp", solver, prediction="eps", **RUN)
    told = torchdiff.sample(both(lambda x, t: 7.0 * x), "vp", solver, **RUN)
    assert torch.equal(told.x, wanted.x)
    if solver == "ddim":
        spoiled = torchdiff.sample(both(lambda x, t: x * torch.nan), "vp", solver, **RUN)
        assert torch.equal(spoiled.x, wanted.x)
        sampler = Sampler(both(lambda x, t: 7.0 * x), plan("vp", solver, steps=6), shape=SHAPE, dtype=torch.float64)
        assert torch.equal(sampler(None, torch.tensor([5])), wanted.x)


def test_fixed_variances_stay_affine():
    """Only learned_range runs on tensors, its last step to the data not even that."""
    for variance in ("fixed_small", "fixed_large"):
        assert all(isinstance(i, AffineStep) for i in plan("vp", f"ddpm:variance={variance}", steps=4).items)
    items = plan("vp", "ddpm:variance=learned_range", steps=4).items
    assert [type(item) for item in items] == [OpaqueStep] * 4 + [AffineStep]


def test_a_network_that_tells_no_variance_is_named():
    """The error says what such a network returns, and which variances need none; misshapen ones are named too."""
    with pytest.raises(IncompatibleError, match=r"variance=True.*fixed_small or fixed_large"):
        torchdiff.sample(wrap(eps, "eps"), "vp", "ddpm:variance=learned_range", **RUN)
    with pytest.raises(NetworkError, match=r"shape \(3, 2, 4\) .* twice the channels"):
        torchdiff.sample(wrap(eps, "eps", variance=True), "vp", "ddim", **RUN)
    with pytest.raises(NetworkError, match="twice the channels"):
        torchdiff.sample(wrap(lambda x, t: x, "eps", variance=True), "vp", "ddim", **{**RUN, "shape": (3,)})
    with pytest.raises(OptionError, match="'learned_range', got 'learned'"):
        torchdiff.get_solver("ddpm:variance=learned")


def test_variances_that_are_not_finite_are_found():
    """learned_range reads the variance, so a nan in it is the network's, named as such."""
    with pytest.raises(ArithmeticError, match="sample 0 first"):
        torchdiff.sample(both(lambda x, t: x * torch.nan), "vp", "ddpm:variance=learned_range", **RUN)
