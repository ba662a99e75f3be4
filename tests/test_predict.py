"""What a network's output means: x0, eps, score and velocity come back from every kind of prediction."""

import pytest
import torch

from torchdiff.denoiser import PREDICTIONS, Denoiser
from torchdiff.errors import IncompatibleError
from torchdiff.form import Form
from torchdiff.predict import read
from torchdiff.sde import VE, VP, Flow

EPS = 2.0**-52
SCALAR = [VP(), VP(beta_0=0.2, beta_1=15.0), VE(), VE(sigma_max=348.0), Flow()]
# output = u x0 + w eps, written a second time, from the definitions: v = alpha eps - sigma x0, flow = eps - x0
MEANING = {
    "eps": lambda level: (0.0, 1.0),
    "x0": lambda level: (1.0, 0.0),
    "v": lambda level: (-level.sigma, level.alpha),
    "score": lambda level: (0.0, -1.0 / level.sigma),
    "flow": lambda level: (-1.0, 1.0),
}
CLEAN, NOISY = Flow().level(0.0), Flow().level(1.0)  # sigma = 0, alpha = 0


def case(level, prediction, seed=0):
    """x0, eps, x and the exact output of a network that knows both."""
    generator = torch.Generator().manual_seed(seed)
    x0, eps = torch.randn(2, 64, dtype=torch.float64, generator=generator)
    u, w = MEANING[prediction](level)
    return x0, eps, level.alpha * x0 + level.sigma * eps, u * x0 + w * eps


def said(sde, level, prediction, x, output):
    return read(sde, Denoiser(None, prediction), x, (output,), level)


def condition(level, prediction):
    """How x0 and eps amplify errors of x and of the output: entries of the inverse of [[alpha, sigma], [u, w]].

    x has the error eps (alpha + sigma), the output eps (|u| + |w|).
    """
    u, w = MEANING[prediction](level)
    det = abs(level.alpha * w - level.sigma * u)
    size, told = level.alpha + level.sigma, abs(u) + abs(w)
    return (abs(w) * size + level.sigma * told) / det, (abs(u) * size + level.alpha * told) / det


@pytest.mark.parametrize("prediction", PREDICTIONS)
@pytest.mark.parametrize("sde", SCALAR, ids=repr)
def test_x0_eps_score_and_velocity_come_back(sde, prediction):
    """From x and an exact output of any kind: x0, eps, score = -eps / sigma and velocity = alpha' x0 + sigma' eps.

    4 ulp of the largest value times the condition number (measured: 1). Between t = 0.05 and 0.6 on VP and
    flow, where sigma / alpha is within [0.1, 5], the same law is checked to a plain 1e-13.
    """
    for t in (max(sde.t_min, 1e-9), 1e-4, 0.01, 0.05, 0.3, 0.6, 0.9, 0.999 * sde.t_max, sde.t_max):
        level = sde.level(t)
        if level.alpha == 0.0 and prediction in ("eps", "score"):
            continue
        x0, eps, x, output = case(level, prediction)
        model = said(sde, level, prediction, x, output)
        bound_x0, bound_eps = (4 * EPS * c * 4.0 for c in condition(level, prediction))  # 4.0: the largest normal
        if 0.05 <= t <= 0.6 and isinstance(sde, VP | Flow):
            bound_x0, bound_eps = min(bound_x0, 1e-13), min(bound_eps, 1e-13)
        alpha_rate, sigma_rate = sde.rates(t)
        assert (model.x0 - x0).abs().max() <= bound_x0
        assert (model.eps - eps).abs().max() <= bound_eps
        assert (model.score + eps / level.sigma).abs().max() <= 2 * bound_eps / level.sigma
        error = (model.velocity - (alpha_rate * x0 + sigma_rate * eps)).abs().max()
        assert error <= 2 * (abs(alpha_rate) * bound_x0 + abs(sigma_rate) * bound_eps)


@pytest.mark.parametrize("sde", SCALAR, ids=repr)
def test_velocity_is_the_probability_flow(sde):
    """velocity = F x - G^2 score / 2, wherever F and G are finite."""
    for t in (0.01, 0.2, 0.7, 0.95):
        level, drift, noise = sde.level(t), sde.drift(t)[0][0], sde.noise(t)[0][0]
        _, _, x, output = case(level, "v")
        model = said(sde, level, "v", x, output)
        terms = drift * x, -0.5 * noise**2 * model.score
        scale = sum(term.abs().max() for term in terms)
        assert (model.velocity - sum(terms)).abs().max() <= 1e-13 * scale  # a dozen roundings of the larger term


@pytest.mark.parametrize("prediction", ["eps", "v", "flow"])
def test_at_sigma_zero_x0_is_x(prediction):
    """Where there is no noise x0 is x itself, and what the network says of eps is all there is to know of it."""
    x0, eps, x, output = case(CLEAN, prediction)
    model = said(Flow(), CLEAN, prediction, x, output)
    assert torch.equal(model.x0, x0)
    assert (model.eps - eps).abs().max() <= 8 * EPS * 4.0  # flow adds x0 to eps - x0: two roundings
    assert (model.velocity - (eps - x0)).abs().max() <= 8 * EPS * 4.0


@pytest.mark.parametrize("prediction", ["x0", "v", "flow"])
def test_at_alpha_zero_eps_is_x(prediction):
    """Where there is no signal eps is x itself, and x0 is what the network says."""
    x0, eps, x, output = case(NOISY, prediction)
    model = said(Flow(), NOISY, prediction, x, output)
    assert torch.equal(model.eps, eps)
    assert torch.equal(model.score, -eps)
    assert (model.x0 - x0).abs().max() <= 8 * EPS * 4.0
    assert (model.velocity - (eps - x0)).abs().max() <= 8 * EPS * 4.0


@pytest.mark.parametrize(
    ("level", "prediction", "name"),
    [
        (NOISY, "eps", "x0"),
        (NOISY, "eps", "velocity"),
        (NOISY, "score", "x0"),
        (CLEAN, "x0", "eps"),
        (CLEAN, "x0", "velocity"),
        (CLEAN, "score", "x0"),
        (CLEAN, "eps", "score"),
        (CLEAN, "v", "score"),
    ],
)
def test_what_no_output_says_is_an_error(level, prediction, name):
    """eps or score at alpha = 0, x0 at sigma = 0, any score at sigma = 0: IncompatibleErrors that name the time."""
    x = torch.ones(3, dtype=torch.float64)
    with pytest.raises(IncompatibleError, match=f"t = {level.t:g}"):
        getattr(said(Flow(), level, prediction, x, x), name)


@pytest.mark.parametrize("sde", SCALAR, ids=repr)
def test_what_the_network_says_is_read_without_x(sde):
    """An eps network's eps, an x0 network's x0 and, on the flow, a flow network's velocity are the very output."""
    x, output = Form.column(0), Form.column(1)
    pairs = [("eps", "eps"), ("x0", "x0"), *([("flow", "velocity")] if isinstance(sde, Flow) else [])]
    for t in (1e-5, 0.01, 0.05, 0.3, 1 / 3, 0.6, 0.77, 0.999):
        for prediction, name in pairs:
            form = getattr(said(sde, sde.level(t), prediction, x, output), name)
            assert form.terms == {1: 1.0}
            assert form.single == 1
    tensor = torch.ones(3)
    assert said(sde, sde.level(0.3), "eps", tensor, tensor).eps is tensor


@pytest.mark.parametrize("prediction", PREDICTIONS)
def test_forms_and_tensors_read_the_same(prediction):
    """The weights that a Form collects are the ones that tensors are multiplied by."""
    sde, level = VP(), VP().level(0.37)
    _, _, x, output = case(level, prediction)
    for name in ("x0", "eps", "score", "velocity"):
        terms = getattr(said(sde, level, prediction, Form.column(0), Form.column(1)), name).terms
        value = getattr(said(sde, level, prediction, x, output), name)
        assert torch.equal(value, sum(terms[key] * (x, output)[key] for key in sorted(terms)))


def test_two_outputs_are_mixed():
    """A denoiser with two outputs (guidance) is read as the weighted sum that its mix says."""

    class Two(Denoiser):
        def mix(self, level):
            return (3.0, -2.0)

    form = read(VP(), Two(None), Form.column(0), (Form.column(1), Form.column(2)), VP().level(0.4)).eps
    assert form.terms == {1: 3.0, 2: -2.0}
