"""One table of the fused ops on a GPU: against eager torch, torch.compile and the copy bandwidth of the same run.

    python benchmarks/gpu_table.py                            on a GPU
    python benchmarks/gpu_table.py --device cpu --quick       tries the script: small tensors, no torch.compile

A row is a case; times are medians in microseconds. "of copy" is (bytes read and written / time of ours) divided by the
same of tensor.copy_ on 1 GiB. Small cases show the overhead of a call, and there this fraction says nothing.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from torchdiff import ops

Call = Callable[[], object]


class Case(NamedTuple):
    """`rows` weighted sums of `inputs` tensors of `shape` and `draws` normals each; no inputs: normal() alone."""

    name: str
    shape: tuple[int, ...]
    dtype: torch.dtype
    inputs: int
    draws: int
    rows: int = 1
    channels_last: bool = False


class Line(NamedTuple):
    name: str
    ours: float  # microseconds
    eager: float
    compiled: float | None
    of_copy: float


IMAGES, SMALL = (128, 3, 256, 256), (16, 3, 32, 32)  # 48 MiB in bfloat16: two of them pass an H100's L2 cache
CASES = [
    Case("noisy step, float32", IMAGES, torch.float32, 2, 1),
    Case("noisy step, bfloat16", IMAGES, torch.bfloat16, 2, 1),
    Case("noisy step, float16", IMAGES, torch.float16, 2, 1),
    Case("noisy step, float64", IMAGES, torch.float64, 2, 1),
    Case("noisy step, float32, channels_last", IMAGES, torch.float32, 2, 1, channels_last=True),
    Case("two-step method, float32", IMAGES, torch.float32, 3, 0),
    Case("two-step method, bfloat16", IMAGES, torch.bfloat16, 3, 0),
    Case("Langevin, 2 rows, float32", IMAGES, torch.float32, 3, 2, rows=2),
    Case("normal, float32", IMAGES, torch.float32, 0, 1),
    Case("normal, bfloat16", IMAGES, torch.bfloat16, 0, 1),
    Case("noisy step, 50k elements, float32", SMALL, torch.float32, 2, 1),
    Case("noisy step, points in the plane", (4096, 2), torch.float32, 2, 1),
]


def ours(case: Case, tensors: list[Tensor], device: str) -> Call:
    weights = torch.linspace(0.1, 0.9, case.rows * (case.inputs + case.draws), dtype=torch.float64)
    weights = weights.view(case.rows, -1).to(device)
    seeds, draws = torch.tensor([1], device=device), torch.arange(case.draws, device=device)
    if case.inputs == 0:
        return lambda: ops.normal(case.shape, seeds, 0, draws, case.dtype)
    return lambda: ops.affine(tensors, weights, seeds, 0, draws)


def formula(case: Case, device: str) -> Callable[..., object]:
    """What a sampler writes in torch: sums in the tensors' dtype, noise from torch's generator."""
    weights = torch.linspace(0.1, 0.9, case.rows * (case.inputs + case.draws)).view(case.rows, -1).tolist()

    def run(*tensors: Tensor) -> object:
        if not tensors:
            return torch.randn(case.shape, dtype=case.dtype, device=device)
        terms = [*tensors, *(torch.randn_like(tensors[0]) for _ in range(case.draws))]
        outputs = []
        for row in weights:
            total = row[0] * terms[0]
            for weight, term in zip(row[1:], terms[1:], strict=True):
                total = torch.add(total, term, alpha=weight)  # one pass for product and sum: eager torch at its best
            outputs.append(total)
        return outputs

    return run


def timed(call: Call, device: str, quick: bool) -> float:
    """The median time of a call in microseconds: groups of calls back to back, after a warm-up."""
    repeats, calls = (3, 2) if quick else (30, 20)
    for _ in range(calls):
        call()
    times = []
    for _ in range(repeats):
        if device == "cuda":
            start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
            start.record()
            for _ in range(calls):
                call()
            end.record()
            end.synchronize()
            times.append(start.elapsed_time(end) * 1000 / calls)
        else:
            began = time.perf_counter()
            for _ in range(calls):
                call()
            times.append((time.perf_counter() - began) * 1e6 / calls)
    return statistics.median(times)


def copy_bandwidth(device: str, quick: bool) -> float:
    """Bytes read and written by copy_ in a microsecond."""
    source = torch.ones((2**20 if quick else 2**30) // 4, device=device)
    target = torch.empty_like(source)
    return 2 * 4 * source.numel() / timed(lambda: target.copy_(source), device, quick)


def timed_compiled(run: Callable[..., object], tensors: list[Tensor], device: str) -> float | None:
    """The same of torch.compile; None, and a line that says why, where it does not work on this machine."""
    torch._dynamo.reset()
    fused = torch.compile(run, fullgraph=True, dynamic=False)
    try:
        return timed(lambda: fused(*tensors), device, False)
    except Exception as error:  # whatever a compiler may raise: the other columns stand without it
        print(f"torch.compile: {type(error).__name__}: {str(error).splitlines()[0]}")
        return None


def measure(case: Case, bandwidth: float, device: str, quick: bool) -> Line:
    if quick:
        case = case._replace(shape=(case.shape[0] // 16, *case.shape[1:-1], case.shape[-1] // 2))
    layout = torch.channels_last if case.channels_last else torch.contiguous_format
    tensors = [torch.randn(case.shape).to(device, case.dtype, memory_format=layout) for _ in range(case.inputs)]
    run = formula(case, device)
    mine = timed(ours(case, tensors, device), device, quick)
    eager = timed(lambda: run(*tensors), device, quick)
    compiled = None if quick else timed_compiled(run, tensors, device)
    size = torch.Size(case.shape).numel() * case.dtype.itemsize
    return Line(case.name, mine, eager, compiled, (case.inputs + case.rows) * size / mine / bandwidth)


def table(lines: list[Line]) -> str:
    """The lines as a Markdown table."""
    rows = [("case", "ours, us", "eager, us", "compile, us", "eager / ours", "compile / ours", "of copy")]
    for line in lines:
        compiled = ("-", "-") if line.compiled is None else (f"{line.compiled:.1f}", f"{line.compiled / line.ours:.2f}")
        times = (f"{line.ours:.1f}", f"{line.eager:.1f}", compiled[0])
        rows.append((line.name, *times, f"{line.eager / line.ours:.2f}", compiled[1], f"{line.of_copy:.2f}"))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    rows.insert(1, tuple("-" * (width - (i > 0)) + ":" * (i > 0) for i, width in enumerate(widths)))
    lined = [[cell.rjust(w) if i else cell.ljust(w) for i, (cell, w) in enumerate(zip(row, widths, strict=True))]
             for row in rows]  # fmt: skip
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lined)


def main() -> int:
    parser = argparse.ArgumentParser(description="times of the fused ops against eager torch and torch.compile")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--quick", action="store_true", help="small tensors and few calls, without torch.compile")
    options = parser.parse_args()
    if options.device == "cuda" and not torch.cuda.is_available():
        print("no CUDA device: nothing was measured")
        return 1
    if options.device not in ops.backend().devices:
        print(f"torchdiff has no compiled kernels for {options.device} ({ops.backend().reason}): nothing was measured")
        return 1
    bandwidth = copy_bandwidth(options.device, options.quick)
    name = torch.cuda.get_device_name() if options.device == "cuda" else "CPU"
    print(f"{name}, torch {torch.__version__}, copy {bandwidth / 1e3:.0f} GB/s\n")
    print(table([measure(case, bandwidth, options.device, options.quick) for case in CASES]))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
