"""How a network is called, and what it may return: every misfit is an error with names, shapes and the way out."""

import math

import pytest
import torch

from torchdiff import wrap
from torchdiff.denoiser import PREDICTIONS, Denoiser
from torchdiff.errors import IncompatibleError, NetworkError, OptionError, UnknownNameError
from torchdiff.sde import CLD, VE, VP, Flow

LEVEL = VP().level(0.3)


class Recorder:
    """A network that keeps what it was called with and answers with zeros."""

    def __call__(self, *args, **cond):
        self.args, self.cond = args, cond
        return torch.zeros_like(args[0])


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64])
def test_the_network_gets_one_time_a_sample(dtype):
    """net(x, t, **cond): t is (B,) of x's dtype, float32 at least, one number, and the conditions come by name."""
    net, x = Recorder(), torch.zeros(5, 2, 3, dtype=dtype)
    (output,) = Denoiser(net, cond={"label": 7})(x, LEVEL)
    assert net.args[0] is x
    assert torch.equal(net.args[1], torch.full((5,), 0.3, dtype=torch.promote_types(dtype, torch.float32)))
    assert net.cond == {"label": 7}
    assert output.shape == x.shape


def test_blocks_come_before_the_time():
    """net(x, v, t) for position and velocity."""
    net, x, v = Recorder(), torch.zeros(4, 3), torch.ones(4, 3)
    Denoiser(net, "score")(x, v, CLD().level(0.5))
    assert net.args[:2] == (x, v)
    assert net.args[2].tolist() == [0.5] * 4


TIMES = {
    "t": lambda level: level.t,
    "sigma": lambda level: level.sigma / level.alpha,
    "log_snr": lambda level: math.log(level.alpha**2 / level.sigma**2),
    999: lambda level: 999 * level.t,
    0.5: lambda level: 0.5 * level.t,
}


@pytest.mark.parametrize("time", TIMES, ids=repr)
@pytest.mark.parametrize("sde", [VP(), VE(), Flow()], ids=repr)
def test_times_are_told_as_asked(sde, time):
    """t, sigma / alpha, log(alpha^2 / sigma^2) or a multiple of t."""
    for t in (1e-3, 0.3, 0.9):
        level = sde.level(t)
        # the logarithm of a square and twice the logarithm differ by a few ulp of 1
        assert Denoiser(None, time=time).label(level) == pytest.approx(TIMES[time](level), rel=1e-14, abs=1e-14)


def test_a_function_tells_any_time():
    """time may be a function of the level; c_noise = log(sigma) / 4 is one."""
    level = VE().level(0.7)
    assert Denoiser(None, time=lambda level: math.log(level.sigma) / 4).label(level) == math.log(level.sigma) / 4


def test_times_at_the_ends_are_numbers_or_named_errors():
    """A time that is infinite where sigma or alpha is 0 is refused; block processes have neither sigma nor log-SNR."""
    clean, noisy = Flow().level(0.0), Flow().level(1.0)
    assert Denoiser(None, time="sigma").label(clean) == 0.0
    for time, level in (("sigma", noisy), ("log_snr", clean), ("log_snr", noisy)):
        with pytest.raises(IncompatibleError, match="time is -?inf at t = .*t_max, t_min"):
            Denoiser(None, time=time).label(level)
    for time in ("sigma", "log_snr"):
        with pytest.raises(IncompatibleError, match="2 blocks"):
            Denoiser(None, time=time).label(CLD().level(0.5))


@pytest.mark.parametrize("sde", [VP(), VE(), Flow()], ids=repr)
def test_unit_scale_makes_unit_variance(sde):
    """With data of variance 1 the scaled input has variance scale^2 (alpha^2 + sigma^2) = 1, at both ends too."""
    for t in (0.0, 0.3, 1.0):
        level = sde.level(t)
        scale = Denoiser(None, input_scale="unit").scale(level)
        assert scale**2 * (level.alpha**2 + level.sigma**2) == pytest.approx(1.0, rel=1e-15)
        assert Denoiser(None).scale(level) == 1.0
        assert Denoiser(None, input_scale=lambda level: 2.0 * level.t).scale(level) == 2.0 * t
    with pytest.raises(IncompatibleError, match="unit"):
        Denoiser(None, input_scale="unit").scale(CLD().level(0.5))


X = torch.zeros(2, 3)
ANSWERS = {
    "other shape": (lambda x, t: x[:, :2], [r"shape \(2, 2\)", r"shape \(2, 3\)"]),
    "two samples' means": (lambda x, t: x.mean(0, keepdim=True), [r"shape \(1, 3\)", r"shape \(2, 3\)"]),
    "a tuple": (lambda x, t: (x, x), ["tuple", r"\(2, 3\)", "output="]),
    "None": (lambda x, t: None, ["NoneType", r"\(2, 3\)"]),
    "an array": (lambda x, t: x.numpy(), ["ndarray", r"\(2, 3\)"]),
    "integers": (lambda x, t: x.long(), ["torch.int64", "floating"]),
    "booleans": (lambda x, t: x > 0, ["torch.bool", "floating"]),
}


@pytest.mark.parametrize("answer", ANSWERS)
def test_answers_that_are_no_prediction_are_named(answer):
    """Another shape, type or dtype is a NetworkError with the time, what came and what was expected."""
    net, parts = ANSWERS[answer]
    for part in (*parts, "t = 0.3"):
        with pytest.raises(NetworkError, match=part):
            Denoiser(net)(X, LEVEL)


def test_a_reused_buffer_is_copied():
    """copy=True: the output survives the network's next call; copy=False hands on the very tensor."""
    buffer = torch.ones(2, 3)
    (kept,) = Denoiser(lambda x, t: buffer, copy=True)(X, LEVEL)
    (shared,) = Denoiser(lambda x, t: buffer)(X, LEVEL)
    buffer.zero_()
    assert torch.equal(kept, torch.ones(2, 3))
    assert shared is buffer


@pytest.mark.parametrize(
    ("options", "parts"),
    [
        ({"prediction": "noise"}, ["noise", *PREDICTIONS]),
        ({"time": "seconds"}, ["seconds", "sigma", "log_snr"]),
        ({"input_scale": "karras"}, ["karras", "unit"]),
        ({"input_scale": 2.0}, ["2.0", "unit"]),
        ({"net": torch.zeros(3)}, ["Tensor", "called"]),
    ],
)
def test_options_that_mean_nothing_are_named(options, parts):
    """A prediction, time, input scale or network that is none is named, with what came and what would do."""
    with pytest.raises((OptionError, UnknownNameError)) as error:
        wrap(**{"net": None, "prediction": "eps", **options})
    assert all(part in str(error.value) for part in parts)


def test_wrap_is_the_denoiser():
    """wrap(net, prediction, time, input_scale, copy) is Denoiser with the same arguments."""
    net = Recorder()
    assert wrap(net, "v", "sigma", "unit", True) == Denoiser(net, "v", "sigma", "unit", True)
    assert wrap(net, "eps") == Denoiser(net)
    with pytest.raises(TypeError, match="prediction"):  # a wrong guess would give plausible rubbish
        wrap(net)


def test_a_denoiser_without_a_network_only_plans():
    """None stands for a network where a plan is wanted; calling it is an error that says so."""
    with pytest.raises(OptionError, match="planned with"):
        Denoiser(None)(X, LEVEL)


def test_conditions_add_up_and_never_clash():
    """bind() adds conditions and leaves the denoiser as it was; a condition given twice is an error with its name."""
    net = Recorder()
    bare = Denoiser(net, cond={"label": 1})
    bare.bind({"mask": 2})(X, LEVEL)
    assert net.cond == {"label": 1, "mask": 2}
    bare(X, LEVEL)
    assert net.cond == {"label": 1}
    with pytest.raises(OptionError, match="'label' is given twice"):
        bare.bind({"mask": 2, "label": 1})
