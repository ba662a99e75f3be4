"""Laws of a bench of latent networks: they sample latents, and are judged by what these are decoded to."""

from __future__ import annotations

import time

import numpy as np
import pytest
import torch

import torchdiff
from torchdiff import bench
from torchdiff.bench.meter import Meter
from torchdiff.errors import OptionError

EXACT = torchdiff.get_target("gmm2d").denoiser(torchdiff.get_sde("vp"))
TURN = torch.tensor([[0.6, -0.8], [0.8, 0.6]])
DATA = torchdiff.get_target("gmm2d").sample(200, seed=3).float()
SMALL = {"solvers": "ddim", "calls": 4, "seeds": 0, "count": 60, "metrics": "sliced_w2:directions=4"}


def decode(z: torch.Tensor) -> torch.Tensor:
    """Latents (b, 2) to images (b, 1, 1, 2), turned and three times as large."""
    return (3.0 * z @ TURN.T).reshape(-1, 1, 1, 2)


def network(**words):
    """The exact network of gmm2d, as that of latents."""
    return torchdiff.wrap(EXACT.net, "v", latent=torchdiff.Latent(words.pop("decode", decode), **words))


@pytest.mark.parametrize("solver", ["dpmpp_2m", "diffusers:DPMSolverMultistepScheduler", "azula:DDIMSampler"])
def test_samples_are_decoded_latents(solver):
    """Whoever runs, in batches of 25 and decoded by 7: the samples of the plain network, decoded; no exact error, which
    would be that of other data."""
    if ":" in solver:
        pytest.importorskip(solver.partition(":")[0])
    words = SMALL | {"solvers": solver, "batch": 25}
    latent = bench.run(net=network(batch=7), data=decode(DATA), shape=(2,), **words)
    (plain,) = bench.run(net=EXACT, data=DATA, **words).samples.values()
    (x,) = latent.samples.values()
    # of images the first ten are shown; 1e-5: rows of a product may be summed in another order in another batch
    torch.testing.assert_close(x, decode(plain)[:10], rtol=1e-5, atol=1e-5)
    assert latent[0]["exact_w2"] is None
    assert latent.header["config"]["shape"] == [2]


def test_a_slow_decoder_is_not_the_updates_fault():
    """Three batches decoded in 50 ms each: the seconds are the network's, and the calls are those of the network."""

    def slow(z):
        time.sleep(0.05)
        return decode(z)

    (cell,) = bench.run(net=network(decode=slow), data=decode(DATA), shape=(2,), batch=20, **SMALL)
    assert cell["timing"]["network"] >= 0.15
    assert cell["calls"] == cell["promised"] == 4
    # the update takes 1 ms; 0.1: a busy machine
    assert cell["timing"]["update"] < 0.1


def test_a_decoder_inside_guidance_is_timed_too():
    """The meter finds it where the network is."""
    meter = Meter()
    net = torchdiff.clip(network(), low=-9.0, high=9.0)
    meter.around(net).latent.decoded(DATA)
    assert meter.seconds > 0.0
    assert meter.calls == 0


def test_a_decoder_that_overflows_fails_its_cells_alone():
    """Decoded samples that are not finite are counted, for ours and for theirs."""
    pytest.importorskip("diffusers")
    net = network(decode=lambda z: decode(z).where(z[:, :1, None, None] < 0.0, torch.inf))
    words = SMALL | {"solvers": "ddim,diffusers:DDIMScheduler"}
    cells = bench.run(net=net, data=decode(DATA), shape=(2,), **words)
    assert all("samples are not finite" in cell["problem"] and 10 < cell["finite"] < 50 for cell in cells)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ({}, r"give their shape, one sample's, as shape=\(4, 8, 8\)"),
        ({"shape": (3,)}, r"shape \(3,\) does not fit: the network fails on one latent"),
        (
            {"shape": (2,), "data": DATA},
            r"decoded to torch.float32 \(1, 1, 1, 2\), the data are floats \(N, \*\(2,\)\)",
        ),
        ({"shape": (2,), "decode": lambda z: decode(z).byte()}, "decoded to torch.uint8"),
        ({"shape": (2,), "decode": lambda z: z.reshape(5, -1)}, "the decoder fails on one latent: RuntimeError"),
        ({"shape": (0,)}, r"whole numbers from 1 on as in \(4, 8, 8\), got \(0,\)"),
        ({"shape": ()}, "whole numbers from 1 on"),
        ({"shape": 2}, "whole numbers from 1 on"),
        ({"shape": (2.0,)}, "whole numbers from 1 on"),
        ({"shape": (True,)}, "whole numbers from 1 on"),
        ({"shape": (3,), "net": EXACT, "data": DATA}, r"not that of the data, \(2,\)"),
        ({"shape": (2,), "net": None, "data": None, "target": "gmm2d"}, "shape belongs to a net"),
    ],
)
def test_a_shape_that_does_not_fit_is_told_first(words, message):
    """Missing, wrong for the network, the decoder or the data, no shape: one error, before any cell."""
    made = network(decode=words.get("decode", decode))
    given = {"net": made, "data": decode(DATA)} | {k: v for k, v in words.items() if k != "decode"}
    with pytest.raises(OptionError, match=message):
        bench.run(**given, **SMALL)


def test_the_command_says_the_shape(tmp_path, monkeypatch, capsys):
    """--net and --shape: a table, and the shape in the command that makes it again."""
    from torchdiff.cli import main

    (tmp_path / "latent_net.py").write_text(
        "import torchdiff\n"
        "exact = torchdiff.get_target('gmm2d').denoiser('vp')\n"
        "def make(): return torchdiff.wrap(exact.net, 'v', latent=torchdiff.Latent(lambda z: z.reshape(-1, 1, 2)))\n"
    )
    np.save(tmp_path / "x.npy", DATA.reshape(-1, 1, 2).numpy())
    monkeypatch.chdir(tmp_path)
    words = "bench --net latent_net:make --data x.npy --shape 2 --solvers ddim --calls 4 --seeds 0 --count 40 --out out"
    assert main(words.split()) == 0
    assert "--data x.npy --shape 2 " in bench.load("out").header["command"]
    assert "real data (floor)" in capsys.readouterr().out
