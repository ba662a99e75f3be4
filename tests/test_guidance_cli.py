"""Guidance on the command line: the samples of torchdiff.guide, and what is refused before anything is loaded."""

import json
import sys

import pytest
import torch
from safetensors import safe_open

import torchdiff
from torchdiff.cli import main

NET = """
import torch

class Net(torch.nn.Module):
    def forward(self, x, t, label, size=None):
        return 0.3 * torch.tanh(x + label.to(x).reshape(-1, 1) + (0.0 if size is None else size.to(x).reshape(-1, 1)))

def make(): return Net()
def guided():
    import torchdiff
    return torchdiff.guide(torchdiff.wrap(Net(), "eps"), 3.0, null={"label": 7})
"""
BASE = ["--sde", "vp", "--solver", "dpmpp_2m", "--steps", "3", "--shape", "3,2", "--seed", "1", "--no-progress"]
BASE += ["--out", "x.safetensors"]
RUN = ["sample", "--net", "guided_net:make", *BASE, "--prediction", "eps"]


@pytest.fixture
def place(tmp_path, monkeypatch):
    (tmp_path / "guided_net.py").write_text(NET)
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    sys.modules.pop("guided_net", None)


def net(x, t, label, size=None):
    return 0.3 * torch.tanh(x + label.to(x).reshape(-1, 1) + (0.0 if size is None else size.to(x).reshape(-1, 1)))


def sample(cond, **guidance):
    guided = torchdiff.guide(torchdiff.wrap(net, "eps"), **guidance)
    return torchdiff.sample(guided, "vp", "dpmpp_2m", steps=3, shape=(3, 2), seed=1, cond=cond).x


LABEL = {"label": torch.tensor([1, 2, 3])}
FULL = {**LABEL, "size": torch.tensor([4.0, 4.0, 4.0])}
CASES = {
    "--guidance 3 --null label=7": (LABEL, {"scale": 3.0, "null": {"label": 7}}),
    "--guidance 0,1,4 --null label=7": (LABEL, {"scale": [0.0, 1.0, 4.0], "null": {"label": 7}}),
    "--guidance 3 --negative label=3,2,1": (LABEL, {"scale": 3.0, "negative": {"label": torch.tensor([3, 2, 1])}}),
    "--guidance 3 --null label=7 --interval 0.2,0.7 --interval-in t --rescale 0.5": (
        LABEL,
        {"scale": 3.0, "null": {"label": 7}, "interval": (0.2, 0.7), "interval_in": "t", "rescale": 0.5},
    ),
    "--cond size=4.0 --shared size --guidance 3 --null label=7": (
        FULL,
        {"scale": 3.0, "null": {"label": 7}, "shared": ("size",)},
    ),
}


@pytest.mark.parametrize("flags", CASES)
def test_flags_are_the_words_of_guide(flags, place, capsys):
    """The same bits as in Python, and the file says by which guidance they were made."""
    cond, words = CASES[flags]
    assert main([*RUN, "--cond", "label=1,2,3", *flags.split(), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    with safe_open("x.safetensors", "pt") as file:
        assert torch.equal(file.get_tensor("x"), sample(cond, **words))
        metadata = file.metadata()
    given = dict(zip(flags.split()[0::2], flags.split()[1::2], strict=True))
    for flag in {"--guidance", "--null", "--negative", "--interval", "--rescale", "--shared"} & set(given):
        assert metadata[flag[2:]] == told[flag[2:]] == given[flag]


def test_a_factory_may_return_a_guided_network(place, capsys):
    """What stands in the module is guided already: no flag, and no file says otherwise."""
    assert main(["sample", "--net", "guided_net:guided", *BASE, "--cond", "label=1,2,3"]) == 0
    with safe_open("x.safetensors", "pt") as file:
        assert torch.equal(file.get_tensor("x"), sample(LABEL, scale=3.0, null={"label": 7}))


WRONG = {
    "--guidance 3": ["--null NAME=VALUE", "label=10"],
    "--guidance 3 --null label=7 --negative label=1": ["one of --null", "--negative"],
    "--null label=7": ["--null", "--guidance SCALE"],
    "--interval 1,2": ["--interval", "--guidance SCALE"],
    "--rescale 0.5": ["--rescale", "--guidance SCALE"],
    "--guidance nan --null label=7": ["finite number", "nan"],
    "--guidance 1,2 --null label=7": ["3 for 3 samples", "got 2"],
    "--guidance 3 --null label": ["name=number"],
    "--guidance 3 --null label=7 --interval 1": ["(low, high)", "1.0"],
    "--guidance 3 --null label=7 --rescale 2": ["[0, 1]", "2.0"],
    "--guidance 3 --null class=7": ["'class'", "given label"],
}


@pytest.mark.parametrize("flags", WRONG)
def test_flags_that_do_not_fit_are_one_line(flags, place, capsys):
    """Exit code 2, one line that says what came and what was expected, and no file."""
    assert main([*RUN, "--cond", "label=1,2,3", *flags.split()]) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert all(part in err for part in ("torchdiff: error: ", *WRONG[flags])), err
    assert not (place / "x.safetensors").exists()
