"""Every argument that does not fit is refused by name, before anything is read."""

import pytest
import torch

from torchdiff import ops

GOOD = {
    "tensors": [torch.zeros(3, 4), torch.zeros(3, 4)],
    "weights": torch.zeros(2, 3, dtype=torch.float64),
    "seeds": torch.zeros(1, dtype=torch.int64),
    "first_index": 0,
    "draws": torch.zeros(1, dtype=torch.int64),
}

WRONG = [
    ("no tensors", {"tensors": []}, "tensors is empty"),
    ("scalar", {"tensors": [torch.zeros(()), torch.zeros(())]}, r"tensors\[0\] has no batch"),
    ("other shape", {"tensors": [torch.zeros(3, 4), torch.zeros(3, 5)]}, r"tensors\[1\] has shape \(3, 5\)"),
    ("other rank", {"tensors": [torch.zeros(3, 4), torch.zeros(3)]}, r"tensors\[1\] has shape \(3,\)"),
    ("integers", {"tensors": [torch.zeros(3, 4), torch.zeros(3, 4).int()]}, r"tensors\[1\] has dtype"),
    ("complex", {"tensors": [torch.zeros(3, 4, dtype=torch.complex64)] * 2}, r"tensors\[0\] has dtype"),
    ("tensor on meta", {"tensors": [torch.zeros(3, 4), torch.zeros(3, 4, device="meta")]}, r"tensors\[1\] is on meta"),
    ("float32 weights", {"weights": torch.zeros(2, 3)}, "weights has dtype"),
    ("weights on meta", {"weights": torch.zeros(2, 3, dtype=torch.float64, device="meta")}, "weights is on meta"),
    ("weights 1-D", {"weights": torch.zeros(3, dtype=torch.float64)}, r"weights has shape \(3,\)"),
    ("weights 4-D", {"weights": torch.zeros(1, 3, 2, 3, dtype=torch.float64)}, "weights has shape"),
    ("no rows", {"weights": torch.zeros(0, 3, dtype=torch.float64)}, "weights has shape"),
    ("too few columns", {"weights": torch.zeros(2, 2, dtype=torch.float64)}, "weights has 2 columns.* need 3"),
    ("too many columns", {"weights": torch.zeros(2, 4, dtype=torch.float64)}, "weights has 4 columns"),
    ("weights batch", {"weights": torch.zeros(2, 2, 3, dtype=torch.float64)}, "weights has 2 sample rows"),
    ("int32 seeds", {"seeds": torch.zeros(1, dtype=torch.int32)}, "seeds has dtype"),
    ("two seeds", {"seeds": torch.zeros(2, dtype=torch.int64)}, r"seeds has shape \(2,\)"),
    ("no seeds", {"seeds": torch.zeros(0, dtype=torch.int64)}, r"seeds has shape \(0,\)"),
    ("seeds 0-D", {"seeds": torch.zeros((), dtype=torch.int64)}, "seeds has shape"),
    ("seeds on meta", {"seeds": torch.zeros(1, dtype=torch.int64, device="meta")}, "seeds is on meta"),
    ("int32 draws", {"draws": torch.zeros(1, dtype=torch.int32)}, "draws has dtype"),
    ("draws 2-D", {"draws": torch.zeros(1, 1, dtype=torch.int64)}, "draws has 2 dimensions"),
    ("draws on meta", {"draws": torch.zeros(1, dtype=torch.int64, device="meta")}, "draws is on meta"),
    ("negative index", {"first_index": -1}, "first_index is -1"),
]


@pytest.mark.parametrize(("change", "message"), [case[1:] for case in WRONG], ids=[case[0] for case in WRONG])
def test_affine_refuses_by_name(change, message):
    """A wrong device, dtype, shape or count raises an error that starts with the argument's name."""
    with pytest.raises((ValueError, RuntimeError), match="affine: " + message):
        ops.affine(*{**GOOD, **change}.values())


def test_affine_refuses_a_sample_beyond_the_counter():
    """2^34 + 1 elements with noise would reuse counters; an expanded tensor stands for them without memory."""
    huge = torch.zeros(1, 1).expand(1, 2**34 + 1)
    with pytest.raises((ValueError, RuntimeError), match="noise counter ends at 2\\^34"):
        ops.affine([huge], torch.zeros(1, 2, dtype=torch.float64), GOOD["seeds"], 0, GOOD["draws"])


NORMAL = {
    "shape": [3, 4],
    "seeds": torch.zeros(1, dtype=torch.int64),
    "first_index": 0,
    "draw": torch.zeros(1, dtype=torch.int64),
    "dtype": torch.float32,
}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"shape": []}, "shape is empty"),
        ({"shape": [3, -1]}, "negative number"),
        ({"shape": [1, 2**34 + 1]}, "noise counter ends at 2\\^34"),
        ({"shape": [1, 2**40, 2**40]}, "noise counter ends at 2\\^34"),
        ({"seeds": torch.zeros(2, dtype=torch.int64)}, r"seeds has shape \(2,\)"),
        ({"seeds": torch.zeros(1)}, "seeds has dtype"),
        ({"first_index": -3}, "first_index is -3"),
        ({"draw": torch.zeros(2, dtype=torch.int64)}, "draw has 2 elements"),
        ({"draw": torch.zeros(1)}, "draw has dtype"),
        ({"dtype": torch.int32}, "dtype"),
    ],
)
def test_normal_refuses_by_name(change, message):
    """A wrong shape, seed, draw or dtype raises an error with the argument's name."""
    with pytest.raises((ValueError, RuntimeError), match="normal: .*" + message):
        ops.normal(*{**NORMAL, **change}.values())
