"""The check of wrap: right words pass in silence, wrong ones are told what fits, and networks that fit nothing too."""

import functools
import re

import networks
import pytest
import torch

import torchdiff
from torchdiff import wrap
from torchdiff.errors import ConventionError, OptionError
from torchdiff.zoo import digits


def data(seed=0, shape=(16, 8), dtype=torch.float64):
    random = torch.Generator().manual_seed(seed)
    return networks.MEAN + networks.VAR**0.5 * torch.randn(shape, dtype=dtype, generator=random)


@functools.cache
def unet():
    """The shipped network and its own samples as data: the repository has no digits."""
    net, label = digits.unet(), torch.arange(12) % 10
    x = torchdiff.sample(
        wrap(net, "v"), "vp", "dpmpp_2m", calls=10, shape=(12, 1, 28, 28), seed=3, cond={"label": label}
    )
    return net, x.x.clamp(-1.0, 1.0), label


@pytest.mark.parametrize("name", networks.KNOWN)
def test_right_words_pass(name):
    """Each exact network passes in its own words, for data of several seeds, in both precisions and few elements."""
    net, words, sde = networks.KNOWN[name]
    for seed in range(3):
        wrap(net, **words, sde=sde, check=data(seed))
    wrap(net, **words, sde=sde, check=data(0, (80, 2), torch.float32))


# what the exact networks are wrongly said to be, and what the error must name as fitting
WRONG = [
    ("score_sde VP", {"prediction": "score", "time": 999}, "prediction='score_sde'"),
    ("score_sde VP", {"prediction": "eps"}, "prediction='score_sde'"),
    ("score_sde VE", {"prediction": "score"}, "prediction='score_sde_ve'"),
    ("score_sde VE", {"prediction": "eps", "time": "sigma"}, "prediction='score_sde_ve'"),
    ("DDPM index", {"prediction": "v", "time": "index"}, "prediction='ddpm'"),
    ("EDM F on VE", {"prediction": "k_diffusion"}, "prediction='edm'"),
    ("EDM F on VP", {"prediction": "edm", "time": "sigma"}, "prediction='edm'"),
    ("EDM F, sigma_data 1", {"prediction": "edm"}, "prediction='edm:sigma_data=1.0'"),
    ("k-diffusion on VP", {"prediction": "k_diffusion", "time": "t"}, "prediction='k_diffusion'"),
    ("EDM D on VP", {"prediction": "eps", "time": "sigma"}, "prediction='k_diffusion'"),
    ("rectified flow", {"prediction": "flow_matching"}, "prediction='flow'"),
    ("rectified flow", {"prediction": "flow_matching", "time": "t"}, "prediction='flow'"),
    ("rectified flow, 1000 t", {"prediction": "flow"}, "prediction='flow', time=1000"),
    ("flow matching", {"prediction": "flow"}, "prediction='flow_matching'"),
    ("energy", {"prediction": "energy", "time": 1000}, "prediction='energy'"),
    ("v by log SNR", {"prediction": "v"}, "prediction='v', time='log_snr'"),
]


@pytest.mark.parametrize(("name", "words", "fits"), WRONG)
def test_wrong_words_are_told_what_fits(name, words, fits):
    """One error with both readings, their numbers, the points and the levels; what it names passes the check."""
    net, right, sde = networks.KNOWN[name]
    with pytest.raises(ConventionError, match="does not fit this network") as error:
        wrap(net, **words, sde=sde, check=data())
    told = str(error.value).partition("What fits is ")[2]
    # 999 t, 1000 t and 1000 t - 1 are one to any network and any data: which of them comes first is no law
    assert fits in re.split(r" \(error .*? than without it\)|; so does ", told)
    assert float(re.findall(r"error ([\d.e-]+) of", told)[0]) == pytest.approx(1.0, abs=0.05)  # Gaussian data: linear
    assert " noised points at t = " in str(error.value)
    wrap(net, **right, sde=sde, check=data())


def test_a_flipped_sign_is_named():
    """Minus the prediction of a word is told as such."""
    net, words, sde = networks.KNOWN["score_sde VE"]
    with pytest.raises(ConventionError, match="What fits is minus prediction='score_sde_ve'"):
        wrap(lambda x, t: -net(x, t), **words, sde=sde, check=data())


@pytest.mark.parametrize("scale", [0.0, 0.03, 1.0])
@pytest.mark.parametrize("prediction", ["eps", "v", "x0", "flow", "score", "edm", "k_diffusion"])
def test_an_untrained_network_fits_nothing(prediction, scale):
    """Random weights, small or not, and a last layer of zeros: none fits, and the error says what was tried."""
    for seed in range(2):
        torch.manual_seed(seed)
        body = torch.nn.Sequential(torch.nn.Linear(9, 64), torch.nn.SiLU(), torch.nn.Linear(64, 8)).double()
        net = lambda x, t, body=body: scale * body(torch.cat([x, t[:, None]], 1))  # noqa: E731
        with pytest.raises(ConventionError, match="no convention fits") as error:
            wrap(net, prediction, sde="vp", check=data(seed))
        for tried in ("flow_matching", "edm:sigma_data=1", "their negatives", "c_noise", "unit", "trained", "vp"):
            assert tried in str(error.value)


@pytest.mark.parametrize("labels", [True, False])
def test_the_shipped_network_passes(labels):
    """As "v" in t, with its labels and without."""
    net, x, label = unet()
    wrap(net, "v", sde="vp", check=(x[:8], {"label": label[:8]}) if labels else x[-8:])


@pytest.mark.parametrize("words", [("eps",), ("flow", 1000)])
def test_the_shipped_network_is_told_from_others(words):
    """Whatever else it is called, "v" is what fits, at a fifth of a linear guess's error."""
    net, x, _ = unet()
    with pytest.raises(ConventionError, match=r"What fits is prediction='v'(, time='t')? ") as error:
        wrap(net, *words, sde="vp", check=x[:8])
    assert float(re.findall(r"error ([\d.e-]+) of", str(error.value))[-1]) < 0.4


def test_data_of_another_range_fit_nothing():
    """Data in [0, 255], not [-1, 1]: none fits, and the error gives the data's mean and deviation."""
    net, x, _ = unet()
    with pytest.raises(ConventionError, match=r"no convention fits .*mean [2-4]\d.*standard deviation [7-9]\d"):
        wrap(net, "v", sde="vp", check=127.5 * (x[:8] + 1.0))


@pytest.mark.parametrize(("word", "wrong"), [("eps", "score"), ("mixed_score", "eps"), ("score", "mixed_score")])
def test_block_networks_are_checked(word, wrong):
    """On CLD the last block's normal is what the readings are held against."""
    cld = torchdiff.CLD()

    def net(u, t):
        x, v = u.chunk(2, dim=1)
        rows = []
        for i in range(len(t)):
            level = cld.level(float(t[i]))
            along = torch.tensor([level.alpha[0][0], level.alpha[1][0]], dtype=torch.float64)
            factor = torch.tensor(level.sigma, dtype=torch.float64)
            away = torch.stack([x[i], v[i]]) - along[:, None] * networks.MEAN
            cov = networks.VAR * torch.outer(along, along) + factor @ factor.T
            score = -torch.linalg.solve(cov, away)[1]
            own, by = wrap(None, word).meaning(level)
            rows.append((score - own * v[i]) / by)
        return torch.stack(rows)

    wrap(net, word, joined=True, sde=cld, check=data())
    with pytest.raises(ConventionError, match=f"What fits is prediction='{word}'"):
        wrap(net, wrong, joined=True, sde=cld, check=data())


def test_the_check_is_deterministic_and_leaves_no_trace():
    """The same message twice, and torch's generator as it was."""
    net, _, sde = networks.KNOWN["score_sde VP"]
    before, messages = torch.get_rng_state(), []
    for _ in range(2):
        with pytest.raises(ConventionError) as error:
            wrap(net, "x0", sde=sde, check=data())
        messages.append(str(error.value))
    assert messages[0] == messages[1]
    assert torch.equal(before, torch.get_rng_state())


def test_a_network_that_refuses_other_times_is_checked():
    """A table of embeddings raises for labels outside: those readings are left out, its own words are not."""
    table = torch.arange(1000.0, dtype=torch.float64)
    net = lambda x, i: networks.ddpm_index(x, table[i])  # noqa: E731
    wrap(net, "ddpm", time_dtype=torch.int64, sde="vp", check=data())
    with pytest.raises(IndexError):
        wrap(net, "ddpm", time_dtype=torch.int64, time=5000, sde="vp", check=data())


@pytest.mark.parametrize(
    ("check", "match"),
    [
        (torch.zeros(4, 100), r"8 data points or more.*got shape \(4, 100\)"),
        (torch.zeros(40, 2), r"128 numbers.*got shape \(40, 2\)"),
        (torch.zeros(40, 8, dtype=torch.int64), "int64"),
        ([1.0, 2.0], "got list"),
        (torch.zeros(40, 8), "not all the same"),
        (torch.full((40, 8), torch.nan), "finite"),
    ],
)
def test_data_that_tell_nothing_are_named(check, match):
    """Too few, of another type, constant or not finite; and data without an SDE."""
    with pytest.raises(OptionError, match=match):
        wrap(lambda x, t: x, "eps", sde="vp", check=check)
    with pytest.raises(OptionError, match="both check and sde"):
        wrap(lambda x, t: x, "eps", check=check)
