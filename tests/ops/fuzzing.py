"""Draws calls of one op with right and wrong arguments and makes them: python fuzzing.py OP BATCH COUNT."""

from __future__ import annotations

import resource
import sys
import warnings
from pathlib import Path

import torch
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

import torchdiff.ops

ALLOWED = (ValueError, RuntimeError, TypeError)  # NotImplementedError is a RuntimeError
FLOATS = (torch.float32, torch.float64, torch.float16, torch.bfloat16)
OTHERS = (torch.int64, torch.int32, torch.uint8, torch.bool, torch.complex64, torch.complex128, torch.float8_e4m3fn,
          torch.uint64, torch.complex32)  # fmt: skip

sizes = st.lists(st.integers(0, 4), max_size=4).map(tuple)
dtypes = st.sampled_from(FLOATS + OTHERS)


def plain(shape, dtype):
    return torch.zeros(shape, dtype=dtype)


def sparse(shape):
    return torch.zeros(shape).to_sparse()


def compressed(rows):
    return torch.eye(rows).to_sparse_csr()


def quantized(shape):
    return torch.quantize_per_tensor(torch.zeros(shape), 0.1, 0, torch.quint8)


def nested(count):
    return torch.nested.nested_tensor([torch.zeros(n + 1, 3) for n in range(count)])


def huge(dims):
    return torch.zeros(()).expand((2**20,) * dims)


def grown(count):
    return torch.zeros(()).as_strided((1, 2**count), (0, 0))


def odd(shape, dtype):
    t = torch.zeros((*shape, 2), dtype=dtype)
    return t[..., 0]


strange = st.one_of(
    st.builds(plain, sizes, dtypes),
    st.builds(odd, sizes, dtypes),
    st.builds(lambda shape, dtype: torch.zeros(shape, dtype=dtype, device="meta"), sizes, dtypes),
    st.builds(lambda shape: torch.zeros(shape).requires_grad_(), sizes),
    st.builds(lambda shape: torch.full(shape, float("nan"), dtype=torch.float64), sizes),
    st.builds(lambda shape: torch._neg_view(torch.ones(shape)), sizes),
    st.builds(lambda shape: torch.zeros(shape, dtype=torch.complex64).conj(), sizes),
    st.builds(lambda shape: torch.zeros(shape, dtype=torch.complex64).conj().imag, sizes),
    st.builds(sparse, sizes),
    st.builds(compressed, st.integers(1, 3)),
    st.builds(quantized, sizes),
    st.builds(nested, st.integers(1, 3)),
    st.builds(huge, st.integers(1, 3)),
    st.builds(grown, st.integers(34, 62)),
    st.builds(lambda n: torch.zeros(3, 4).expand(n, 3, 4), st.integers(1, 5)),
    st.builds(torch.nn.Parameter, st.builds(plain, sizes, st.just(torch.float32))),
    st.builds(lambda: torch.empty(0).to_mkldnn() if torch.backends.mkldnn.is_available() else torch.empty(0)),
)
# torch prints what it finds in the place of a number: nothing there that is too long to print
printable = st.one_of(st.builds(plain, sizes, dtypes), st.none(), st.text(max_size=3), st.floats(), st.just(object()))
wrong = st.one_of(
    strange, st.none(), st.integers(), st.floats(), st.text(max_size=3), st.lists(strange, max_size=3), st.just([[]]),
    st.just(object()), st.lists(st.none(), min_size=1, max_size=2), st.lists(st.lists(strange, max_size=2), max_size=2),
)  # fmt: skip
numbers = st.integers(-(2**63), 2**63 - 1)


@st.composite
def right(draw):
    """Arguments of affine that fit, as a dictionary, and its rows."""
    shape = draw(st.lists(st.integers(0, 4), min_size=1, max_size=4))
    tensors = [odd(shape, dtype) for dtype in draw(st.lists(st.sampled_from(FLOATS), min_size=1, max_size=4))]
    fresh, rows = draw(st.integers(0, 3)), draw(st.integers(1, 3))
    lead = draw(st.sampled_from([(), (shape[0],)]))
    return {
        "tensors": tensors,
        "weights": torch.ones((*lead, rows, len(tensors) + fresh), dtype=torch.float64),
        "seeds": torch.zeros(draw(st.sampled_from([1, shape[0]])), dtype=torch.int64),
        "first_index": draw(st.integers(0, 2**63 - 1)),
        "draws": torch.arange(fresh),
        "out": [torch.zeros(shape, dtype=draw(st.sampled_from(FLOATS))) for _ in range(rows)],
        "shape": shape,
        "dtype": draw(st.sampled_from(FLOATS)),
        "path": draw(st.integers(0, 4095)),
        "times": torch.tensor(draw(st.lists(st.floats(0, 1), min_size=1, max_size=4)), dtype=torch.float64),
        "horizon": 1.0,
        "integral": draw(st.booleans()),
    }


TAKES = {
    "affine": ("tensors", "weights", "seeds", "first_index", "draws"),
    "affine_out": ("tensors", "weights", "seeds", "first_index", "draws", "out"),
    "brownian": ("shape", "seeds", "first_index", "path", "times", "horizon", "integral", "dtype"),
    "norms": ("tensors", "seeds", "first_index", "draws"),
    "normal": ("shape", "seeds", "first_index", "draws", "dtype"),
    "normal_out": ("seeds", "first_index", "draws", "out"),
}


@st.composite
def calls(draw, op):
    """Right arguments with up to two of them exchanged for something else, or for too many of the same."""
    given = draw(right())
    if op.startswith("normal"):
        given["draws"], given["out"] = torch.zeros(1, dtype=torch.int64), given["out"][0]
    for name in draw(st.lists(st.sampled_from(TAKES[op]), max_size=3)):
        value = draw(wrong)
        if name in ("first_index", "path"):
            value = draw(st.one_of(numbers, printable))
        elif name == "horizon":
            value = draw(st.one_of(st.floats(), printable))
        elif name == "integral":
            value = draw(st.one_of(st.booleans(), printable))
        elif name == "shape":
            value = draw(st.one_of(printable, st.lists(numbers, max_size=4), st.lists(st.integers(-2, 5), max_size=9)))
        elif name == "dtype":
            value = draw(st.one_of(printable, dtypes))
        elif name in ("tensors", "out") and isinstance(given[name], list) and given[name]:
            many = st.integers(0, 40).map(lambda n, one=given[name][0]: [one] * n)
            mixed = st.lists(st.one_of(strange, st.sampled_from(given[name])), max_size=5)
            value = draw(st.one_of(wrong, many, mixed, st.just(given["tensors"])))
        given[name] = value
    return given


def describe(value):
    if isinstance(value, torch.Tensor):
        size = tuple(value.shape) if not value.is_nested else "nested"
        return f"{value.layout} {value.dtype} {size} {value.device} grad={value.requires_grad}"
    return [describe(v) for v in value] if isinstance(value, list) else repr(value)


def fence(more: int) -> None:
    """No more than so many bytes beyond what is in use: a call that asks for terabytes fails and fills no machine."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * resource.getpagesize() + more
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


def main(op: str, batch: int, count: int) -> None:
    warnings.simplefilter("ignore")
    torchdiff.ops.affine([torch.zeros(2, 300_000)], torch.ones(1, 2).double(), torch.tensor([1]), 0, torch.tensor([1]))
    fence(2**31)
    name, _, overload = op.partition("_")
    function = getattr(getattr(torch.ops.torchdiff, name), overload or "default")
    kinds = {"returned": 0, "raised": 0}

    @seed(1000 + batch)
    @settings(
        max_examples=count,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(given=calls(op))
    def run(given):
        print(op, {key: describe(given[key]) for key in TAKES[op]}, flush=True)
        keywords = {"out": given["out"]} if overload else {}
        arguments = [given[key] for key in TAKES[op] if key != "out"]
        try:
            function(*arguments, **keywords)
            kinds["returned"] += 1
        except ALLOWED as error:
            str(error)
            kinds["raised"] += 1

    run()
    print(", ".join(f"{kind} {number}" for kind, number in kinds.items()))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
