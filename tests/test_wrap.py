"""Networks of every published convention, written as their sources write them, held against ours; the check."""

from __future__ import annotations

import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from networks import KNOWN, MEAN, VAR, ddpm_index, energy, score_sde_vp, vp, x0_net

import torchdiff
from torchdiff import Latent, gaussian, get_sde, wrap
from torchdiff.errors import ConventionError, IncompatibleError, NetworkError, OptionError
from torchdiff.steps import AffineStep

DATA = MEAN + math.sqrt(VAR) * torch.randn(256, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("solver", ["ddim:eta=0.5", "dpmpp_2m"])
@pytest.mark.parametrize("name", KNOWN)
def test_conventions_are_those_of_their_sources(name, solver):
    """Sampling with the wrapped network is sampling with the exact x0 network, and the plan stays fused."""
    net, words, sde = KNOWN[name]
    options = dict(steps=7, shape=(3, 5), seed=1, dtype=torch.float64, final="t_min")
    out = torchdiff.sample(wrap(net, **words), sde, solver, **options)
    ours = torchdiff.sample(x0_net(sde), sde, solver, prediction="x0", **options)
    # 1e-10 of the largest state (50 for VE): the networks divide by std and alpha, 150 at t = 1, seven times over
    torch.testing.assert_close(
        out.x, ours.x, rtol=0.0, atol=1e-10 * max(1.0, get_sde(sde).prior(get_sde(sde).t_max)[0][0])
    )
    assert all(isinstance(item, AffineStep) for item in out.plan.items)


def test_energies_are_differentiated_wherever_they_are_called():
    """An energy network samples the same under no_grad, inference_mode and with grad recorded."""
    net, options = wrap(energy, "energy"), dict(steps=3, shape=(2, 4), seed=0, dtype=torch.float64)
    plain = torchdiff.sample(net, "vp", "ddim", **options).x
    with torch.inference_mode():
        assert torch.equal(torchdiff.sample(net, "vp", "ddim", **options).x, plain)
    x = torch.ones(2, 4, dtype=torch.float64, requires_grad=True)
    out = torchdiff.sample(net, "vp", "ddim", x=x, steps=3, seed=0, grad=True).x
    (slope,) = torch.autograd.grad(out.sum(), x)
    assert slope.isfinite().all()
    assert slope.abs().sum() > 0.0
    with pytest.raises(NetworkError, match=r"one number a sample"):
        torchdiff.sample(wrap(lambda x, t: x, "energy"), "vp", "ddim", **options)


def test_learned_variance_is_its_formula():
    """ddpm:variance=learned_range draws with exp(f log beta + (1 - f) log beta~), f = (v + 1) / 2, of alpha-bar."""
    cur, nxt = 0.6, 0.3

    def net(x, t):
        return torch.cat([torch.zeros_like(x), torch.full_like(x, 0.4)], dim=1)

    learned = wrap(net, "eps", variance=True)
    x = torch.zeros(2, 3, dtype=torch.float64)
    solver = "ddpm:variance=learned_range"
    out = torchdiff.sample(learned, "vp", solver, x=x, times=[cur, nxt], seed=4, final="t_min")
    small = torchdiff.sample(
        lambda x, t: x * 0.0, "vp", "ddpm", x=x, times=[cur, nxt], seed=4, final="t_min", prediction="eps"
    )
    bar, before = (float(vp(torch.tensor(t, dtype=torch.float64))[0]) ** 2 for t in (cur, nxt))
    beta = 1.0 - bar / before
    posterior = beta * (1.0 - before) / (1.0 - bar)
    f = 0.5 * (0.4 + 1.0)
    ratio = math.exp(0.5 * (f * math.log(beta) + (1.0 - f) * math.log(posterior))) / math.sqrt(posterior)
    torch.testing.assert_close(out.x, ratio * small.x, rtol=1e-13, atol=0.0)  # x = 0 and eps = 0: the noise alone
    assert not all(isinstance(item, AffineStep) for item in out.plan.items)


def test_every_other_solver_takes_the_prediction():
    """Of 2C channels the first C are the prediction, and ddim's plan stays fused."""
    options = dict(steps=5, shape=(2, 3), seed=0, dtype=torch.float64)

    def double(x, t):
        return torch.cat([score_sde_vp(x, 999.0 * t), x], dim=1)

    both = torchdiff.sample(wrap(double, "eps", variance=True), "vp", "ddim", **options)
    one = torchdiff.sample(wrap(score_sde_vp, "score_sde"), "vp", "ddim", **options)
    assert torch.equal(both.x, one.x)
    with pytest.raises(IncompatibleError, match="tells its variance"):
        torchdiff.sample(wrap(score_sde_vp, "score_sde"), "vp", "ddpm:variance=learned_range", **options)
    with pytest.raises(NetworkError, match="variance=True"):
        torchdiff.sample(wrap(double, "eps"), "vp", "ddim", **options)


def cld_score(x, v, t):
    """grad_v log p of CLD on N(MEAN, VAR) data, from the law of the level."""
    sde = get_sde("cld")
    law = gaussian.marginal(sde, sde.level(float(t[0])), VAR, MEAN)
    gains = -np.linalg.inv(law.cov[0])[-1]
    return gains[0] * (x - law.mean[0, 0]) + gains[1] * (v - law.mean[0, 1])


def cld_mixed(z, t):
    """The residual of CLD-SGM: score_v = -l_t net - v / Svv, one tensor of both blocks. Dockhorn et al. 2022, eq. 9."""
    x, v = z.chunk(2, dim=1)
    factor = np.array(get_sde("cld").level(float(t[0])).sigma)
    cov = factor @ factor.T
    length = math.sqrt(cov[0, 0] / (cov[0, 0] * cov[1, 1] - cov[0, 1] ** 2))
    return -(cld_score(x, v, t) + v / cov[1, 1]) / length


@pytest.mark.parametrize("solver", ["euler_maruyama", "sscs", "ode"])
def test_cld_networks_with_mixed_scores_and_joined_blocks(solver):
    """The residual network that takes (x, v) as one tensor samples as the score itself, in a fused plan."""
    options = dict(steps=6, shape=(2, 4), seed=0, dtype=torch.float64)
    mixed = torchdiff.sample(wrap(cld_mixed, "mixed_score", joined=True), "cld", solver, **options)
    plain = torchdiff.sample(cld_score, "cld", solver, prediction="score", **options)
    for got, wanted in zip(mixed.state, plain.state, strict=True):
        torch.testing.assert_close(got, wanted, rtol=1e-10, atol=1e-10)  # 1 / sigma_vv reaches 20, six times over
    assert all(isinstance(item, AffineStep) for item in mixed.plan.items)
    with pytest.raises(IncompatibleError, match="mixed_score"):
        torchdiff.plan("vp", "ddim", steps=3, prediction="mixed_score")


def test_latent_models_decode_and_encode():
    """`sample` returns decoded samples and keeps the latents; increasing times encode data first; batches are split."""
    seen = []

    def decode(z):
        seen.append(len(z))
        return SimpleNamespace(sample=torch.cat([z, z], dim=1) * 2.0)

    net = wrap(score_sde_vp, "score_sde", latent=Latent(decode, lambda x: x[:, :3] / 2.0, batch=2))
    out = torchdiff.sample(net, "vp", "ddim", steps=4, shape=(5, 3), seed=0, dtype=torch.float64)
    assert seen == [2, 2, 1]
    assert torch.equal(out.x, torch.cat([out.state[0], out.state[0]], dim=1) * 2.0)
    data, times = torch.ones(2, 6, dtype=torch.float64), [0.01, 0.1, 0.5]
    encoded = torchdiff.sample(net, "vp", "ddim", times=times, x=data, seed=0).x
    wanted = torchdiff.sample(wrap(score_sde_vp, "score_sde"), "vp", "ddim", times=times, x=data[:, :3] / 2.0, seed=0).x
    assert torch.equal(encoded, wanted)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("state", [torch.float32, torch.float64])
def test_half_precision_networks_under_a_finer_state(dtype, state):
    """The network gets x in its own dtype and times in float32; the state keeps its own; without dtype= an error."""
    layer = torch.nn.Linear(4, 4).to(dtype)
    got = []

    class Net(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = layer

        def forward(self, x, t):
            got.append((x.dtype, t.dtype))
            return self.layer(x)

    options = dict(steps=3, shape=(2, 4), seed=0, dtype=state)
    out = torchdiff.sample(wrap(Net(), "eps", dtype=dtype), "vp", "ddim", **options)
    assert out.x.dtype == state
    assert set(got) == {(dtype, torch.float32)}
    with pytest.raises(NetworkError, match=f"dtype={dtype}"):
        torchdiff.sample(wrap(Net(), "eps"), "vp", "ddim", **options)


@pytest.mark.parametrize(
    ("answer", "output"),
    [
        (lambda y: (y,), None),
        (lambda y: SimpleNamespace(sample=y), None),
        (lambda y: {"eps": y, "aux": None}, "eps"),
        (lambda y: (None, y), 1),
        (lambda y: [y, y], lambda answer: answer[0]),
    ],
)
def test_outputs_are_found_in_answers(answer, output):
    """A tuple of one, an object with .sample, a key, an index or a function lead to the same output."""
    options = dict(steps=3, shape=(2, 3), seed=0, dtype=torch.float64)
    wrapped = wrap(lambda x, t: answer(score_sde_vp(x, t)), "eps", time=999, output=output)
    plain = torchdiff.sample(wrap(score_sde_vp, "score_sde"), "vp", "ddim", **options).x
    assert torch.equal(torchdiff.sample(wrapped, "vp", "ddim", **options).x, plain)


def test_labels_go_with_their_samples():
    """A condition of B rows belongs to the samples: sample 2 of three is what its label gives alone."""

    def net(x, t, label):
        return score_sde_vp(x, 999.0 * t) + 0.1 * label.reshape(-1, 1)

    options = dict(steps=4, dtype=torch.float64, prediction="eps")
    all_three = torchdiff.sample(
        net, "vp", "ddpm", shape=(3, 2), seed=0, cond={"label": torch.tensor([1, 2, 3])}, **options
    )
    third = torchdiff.sample(
        net, "vp", "ddpm", shape=(1, 2), seed=0, first_index=2, cond={"label": torch.tensor([3])}, **options
    )
    assert torch.equal(all_three.x[2:], third.x)


def test_networks_that_reuse_their_buffer():
    """copy=True gives what a network with fresh outputs gives; without it the second output is refused by name."""
    buffer = torch.zeros(2, 3, dtype=torch.float64)

    def reusing(x, t):
        return buffer.copy_(score_sde_vp(x, t))

    options = dict(steps=5, shape=(2, 3), seed=0, dtype=torch.float64)
    copied = torchdiff.sample(wrap(reusing, "score_sde", copy=True), "vp", "dpmpp_2m", **options).x
    assert torch.equal(copied, torchdiff.sample(wrap(score_sde_vp, "score_sde"), "vp", "dpmpp_2m", **options).x)


@pytest.mark.parametrize("name", KNOWN)
def test_the_check_passes_what_is_right(name):
    """Each convention, said as it is, passes on 256 points of its data."""
    net, words, sde = KNOWN[name]
    wrap(net, **words, sde=sde, check=DATA)


@pytest.mark.parametrize(
    ("net", "wrong", "right"),
    [
        (score_sde_vp, {"prediction": "eps"}, "score_sde"),  # the time is not t
        (score_sde_vp, {"prediction": "x0", "time": 999}, "score_sde"),
        (score_sde_vp, {"prediction": "v", "time": 999}, "score_sde"),
        (ddpm_index, {"prediction": "eps"}, "ddpm"),
        (KNOWN["EDM F on VP"][0], {"prediction": "k_diffusion"}, "edm"),
        (KNOWN["k-diffusion on VP"][0], {"prediction": "x0"}, "k_diffusion"),
        (KNOWN["k-diffusion on VP"][0], {"prediction": "eps", "time": "sigma"}, "k_diffusion"),
    ],
)
def test_the_check_says_which_convention_fits(net, wrong, right):
    """Wrong words raise ConventionError that names the right ones."""
    with pytest.raises(ConventionError) as error:
        wrap(net, **wrong, sde="vp", check=DATA)
    assert repr(right) in str(error.value).partition("What fits is")[2]


def test_the_check_says_what_it_tried():
    """A network that knows nothing fits no convention, and the error lists those that were tried."""
    with pytest.raises(ConventionError, match="no convention fits this network") as error:
        wrap(lambda x, t: torch.cos(50.0 * x), "eps", sde="vp", check=DATA)
    for word in ("eps", "x0", "v", "flow", "edm", "index", "sigma", "unit"):
        assert word in str(error.value)


def test_the_check_knows_the_shipped_network():
    """The digits' network is "v" on vp, and "eps" is found out. Its own samples stand for its data."""
    from torchdiff.zoo import digits

    net, label = digits.unet(), torch.arange(8)
    data = torchdiff.sample(
        net, "vp", "dpmpp_2m", calls=10, shape=(8, 1, 28, 28), seed=0, prediction="v", cond={"label": label}
    ).x
    wrap(net, "v", sde="vp", check=(data, {"label": label}))
    with pytest.raises(ConventionError, match="What fits is prediction='v'"):
        wrap(net, "eps", sde="vp", check=(data, {"label": label}))


@pytest.mark.parametrize(
    ("words", "error", "says"),
    [
        ({"sde": "vp"}, OptionError, "both check and sde"),
        ({"sde": "vp", "check": DATA[:3]}, OptionError, "8 data points"),
        ({"sde": "vp", "check": DATA * 0.0}, OptionError, "not all the same"),
        ({"dtype": "half"}, OptionError, "torch dtype"),
        ({"dtype": torch.int64}, OptionError, "floating"),
        ({"output": 1.5}, OptionError, "index"),
        ({"latent": 3}, OptionError, "Latent"),
    ],
)
def test_bad_words_are_named(words, error, says):
    """One error that names what came and what was expected."""
    with pytest.raises(error, match=says):
        wrap(score_sde_vp, "score_sde", **words)


def test_conventions_of_ones_own():
    """A registered class is a word like the others, in plans and on networks."""
    from dataclasses import dataclass

    @torchdiff.register_convention("twice_eps")
    @dataclass(frozen=True)
    class TwiceEps(torchdiff.Convention):
        """output = 2 eps."""

        def meaning(self, level):
            return 0.0, 2.0

    options = dict(steps=3, shape=(2, 3), seed=0, dtype=torch.float64)
    twice = torchdiff.sample(
        wrap(lambda x, t: 2.0 * score_sde_vp(x, 999.0 * t), "twice_eps"), "vp", "ddim", **options
    ).x
    once = torchdiff.sample(wrap(score_sde_vp, "score_sde"), "vp", "ddim", **options).x
    torch.testing.assert_close(twice, once, rtol=1e-12, atol=0.0)
