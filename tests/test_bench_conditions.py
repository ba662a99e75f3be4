"""Laws of a bench's conditions: a row a sample, whoever runs; what does not fit is said before any call."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

import torchdiff
from torchdiff import bench
from torchdiff.errors import OptionError

REAL = torchdiff.get_target("gmm2d").sample(200, seed=3).float()
SMALL = {"data": REAL, "solvers": "ddim", "calls": 3, "seeds": 0, "count": 60, "metrics": "sliced_w2:directions=4"}
ROWS = torch.arange(26.0).reshape(13, 2)


def told(x, t, a):
    """A network that says that the data are its condition, which comes in the dtype of the state, rounded or not."""
    assert a.dtype == x.dtype
    return a.reshape(x.shape)


def answered(**words) -> torch.Tensor:
    """The samples of the only cell."""
    (x,) = bench.run(net=told, prediction="x0", **SMALL | words).samples.values()
    return x


@pytest.mark.parametrize("solver", ["ddim", "diffusers:DDIMScheduler:timestep_spacing=trailing", "azula:DDIMSampler"])
def test_sample_i_gets_row_i(solver):
    """Of 13 rows sample i gets row i mod 13, in batches of 17 too, whoever runs: a network that returns its row as x0
    ends there."""
    if ":" in solver:
        pytest.importorskip(solver.partition(":")[0])
    x = answered(cond={"a": ROWS}, solvers=solver, batch=17)
    # rows are 1 apart; other libraries stop at sigma 0.01
    assert (x.round() == ROWS[torch.arange(60) % 13]).all()


def test_files_and_mappings_are_one_question(tmp_path):
    """Both formats and tensors give the same samples and the same digest; other rows another one."""
    np.savez(tmp_path / "a.npz", a=ROWS.double().numpy())
    save_file({"a": ROWS}, tmp_path / "a.safetensors")
    samples = [answered(cond=cond) for cond in ({"a": ROWS}, tmp_path / "a.npz", str(tmp_path / "a.safetensors"))]
    assert all(x.equal(samples[0]) for x in samples)
    run = lambda cond: bench.run(net=told, prediction="x0", cond=cond, out=tmp_path / "out", **SMALL)  # noqa: E731
    first = run({"a": ROWS})
    assert run(tmp_path / "a.safetensors").cells == first.cells  # finished, not made again
    for other in ({"a": ROWS + 1.0}, {"a": ROWS[:12]}):
        with pytest.raises(OptionError, match="holds another bench .config conditions"):
            run(other)


def test_what_stands_beside_the_data_is_their_condition(tmp_path):
    """Arrays beside x, sorted by class as files are: a set gets 60 different rows of them, of all classes."""
    order = REAL[:, 0].argsort()
    np.savez(tmp_path / "x.npz", x=REAL[order].numpy(), a=REAL[order].numpy())
    x = answered(data=str(tmp_path / "x.npz"))
    rows = [int(((REAL[order] - row).abs().amax(1) < 1e-5).nonzero()[0]) for row in x]
    assert len(set(rows)) == 60
    # 60 of 200 at random: fewer than 10 of either half has a chance of 1e-9
    assert 10 < sum(row < 100 for row in rows) < 50
    assert len(set(answered(data=str(tmp_path / "x.npz"), cond={"a": ROWS}).round()[:, 0].tolist())) == 13
    with pytest.raises(OptionError, match="the network wants 'a' too"):
        answered(data=str(tmp_path / "x.npz"), cond="none")


def test_conditions_reach_both_sides_of_a_guidance():
    """guide(w = 2) between the row and null = 0: output 2 a."""
    guided = torchdiff.guide(torchdiff.wrap(told, "x0"), 2.0, null={"a": torch.zeros(1, 2)})
    (x,) = bench.run(net=guided, cond={"a": ROWS}, **SMALL).samples.values()
    assert (x.round() == 2.0 * ROWS[torch.arange(60) % 13]).all()


class Net(torch.nn.Module):
    """Takes one condition by name."""

    def forward(self, x, t, *, a=None):
        raise AssertionError("it is refused before it is called")


@pytest.mark.parametrize(
    ("cond", "message"),
    [
        ({"a": ROWS, "b": ROWS[:5]}, "as many rows each, a row a sample, got a 13, b 5"),
        ({"a": ROWS.index_fill(0, torch.tensor([4]), torch.nan)}, "not finite in 1 of 13 rows, row 4 first"),
        ({"a": torch.tensor(1.0)}, r"torch.float32 \(\)"),
        ({"a": torch.zeros(0, 2)}, r"torch.float32 \(0, 2\)"),
        ({"a": [1, 2]}, "list; expected a tensor"),
        ({"a": np.array(["one"])}, r"<U3 \(1,\)"),
        ({1: ROWS}, "1 is no name"),
        ({"a b": ROWS}, "'a b' is no name"),
        ({"b": ROWS}, "takes no condition 'b'; its arguments beside state and time are a"),
        ({"t": ROWS}, "takes no condition 't'"),
        (7, "a mapping of names to tensors"),
        ("a.npy", "no names"),
        ("a.pt", "safetensors, .npz or .npy"),
        ("none.npz", "none.npz.*cannot be read"),
    ],
)
def test_conditions_that_do_not_fit_are_told_first(cond, message):
    """Unequal lengths, nan, no rows, no tensor, no name, a name that the network does not take: before any call."""
    with pytest.raises(ValueError, match=message):
        bench.run(net=Net(), prediction="x0", cond=cond, **SMALL)


def test_arrays_beside_the_data_that_are_no_conditions_are_told(tmp_path):
    """Another length than x has: what they are taken for, and the way out."""
    np.savez(tmp_path / "x.npz", x=REAL.numpy(), mean=np.zeros(2))
    with pytest.raises(OptionError, match="200 samples and mean beside them has 2 rows.*cond='none'"):
        bench.run(net=Net(), prediction="x0", **SMALL | {"data": tmp_path / "x.npz"})


def test_a_target_brings_no_place_for_conditions():
    """cond belongs to a net."""
    with pytest.raises(OptionError, match="cond belongs to a net"):
        bench.run(target="gmm2d", cond={"a": ROWS}, solvers="ddim")
