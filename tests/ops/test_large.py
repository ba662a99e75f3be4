"""More elements than 32 bits can count, on the CPU: indices and counters stay right to the end."""

import pytest
import torch

COUNT = 2**31 + 17
SEED, FIRST, DRAW = 5, 2**33 + 1, 7


def places():
    """Both ends, both sides of 2^31, and 200 places between."""
    g = torch.Generator().manual_seed(1)
    middle = torch.randint(COUNT, (200,), generator=g).tolist()
    return [0, 1, 2**31 - 2, 2**31 - 1, 2**31, 2**31 + 1, COUNT - 2, COUNT - 1, *middle]


def normal_at(extension, sample, element):
    z = extension.normals32(SEED, sample=sample, draw=DRAW, first_block=element // 4, blocks=1, simd="portable")
    return torch.tensor(z)[element % 4]


@pytest.mark.slow
@pytest.mark.parametrize("by_sample", [False, True], ids=["one sample", "samples of one element"])
def test_more_than_2_31_elements(by_sample, extension):
    """In place on 4.3 GB of float16: x <- x / 2 + z, at every place looked at, whichever index is the long one."""
    shape = (COUNT,) if by_sample else (1, COUNT)
    x = torch.ones(shape, dtype=torch.float16)
    weights = torch.tensor([[0.5, 1.0]], dtype=torch.float64)
    torch.ops.torchdiff.affine.out([x], weights, torch.tensor([SEED]), FIRST, torch.tensor([DRAW]), out=[x])
    flat = x.flatten()
    for place in places():
        sample, element = (FIRST + place, 0) if by_sample else (FIRST, place)
        assert flat[place] == (0.5 + normal_at(extension, sample, element)).half()
