"""Conventions on the command line."""

import sys

import pytest
import torch
from safetensors.torch import load_file

import torchdiff
from torchdiff.cli import main

NET = """
import sys
import torch, torchdiff
sys.path.insert(0, {tests!r})
from networks import edm_raw

class Half(torch.nn.Linear):
    def forward(self, x, t):
        assert x.dtype == self.weight.dtype == torch.float16
        return super().forward(x)

def edm(): return edm_raw
def half():
    torch.manual_seed(0)
    return torchdiff.wrap(Half(4, 4, dtype=torch.float16), "x0", dtype=torch.float16)
"""


@pytest.fixture
def place(tmp_path, monkeypatch):
    (tmp_path / "own_net.py").write_text(NET.format(tests=str(torchdiff.__path__[0] + "/../tests")))
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    sys.modules.pop("own_net", None)


def sample(*words):
    line = ["sample", "--solver", "ddim", "--shape", "3,4", "--steps", "4", "--seed", "1", "--out", "x.safetensors"]
    assert main([*line, "--no-progress", *words]) == 0
    return load_file("x.safetensors")["x"]


def test_a_convention_with_options_is_a_prediction(place):
    """--prediction edm:sigma_data=0.5 samples what wrap(net, "edm") does; a plan prints it; a wrong word lists them."""
    from networks import edm_raw

    x = sample("--net", "own_net:edm", "--sde", "ve", "--prediction", "edm:sigma_data=0.5", "--dtype", "float64")
    net = torchdiff.wrap(edm_raw, "edm")
    assert torch.equal(x, torchdiff.sample(net, "ve", "ddim", steps=4, shape=(3, 4), seed=1, dtype=torch.float64).x)


def test_words_of_the_command(capsys):
    """A plan names its convention with what differs from the default; an unknown one is told the nearest."""
    assert main(["plan", "ve", "ddim", "--steps", "2", "--prediction", "edm:sigma_data=1"]) == 0
    assert "edm:sigma_data=1.0 network" in capsys.readouterr().out
    assert main(["plan", "ve", "ddim", "--steps", "2", "--prediction", "k_difusion"]) == 2
    assert "did you mean 'k_diffusion'" in capsys.readouterr().err


def test_a_wrapped_half_network_stays_half(place):
    """--dtype is of the state; a network wrapped with a dtype of its own keeps it."""
    assert sample("--net", "own_net:half", "--sde", "vp").dtype == torch.float32
