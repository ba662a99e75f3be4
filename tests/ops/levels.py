"""Runs every op once on many calls and prints the digest of all bits: python levels.py."""

from __future__ import annotations

import hashlib

import torch
from test_affine import DTYPES, LAYOUTS, call

import torchdiff
from torchdiff import ops

SHAPES = ((1, 4096), (3, 200), (2, 3, 8, 8), (5, 129), (300, 2), (700,), (2, 1000, 3), (1, 70))


def main() -> None:
    digest = hashlib.sha256()

    def add(*tensors):
        for t in tensors:
            digest.update(t.detach().contiguous().view(torch.uint8).numpy().tobytes())

    for number, shape in enumerate(SHAPES):
        for rows, draws in ((1, 1), (2, 1), (3, 2), (1, 0), (8, 4), (1, 8), (2, 3)):
            for dtype in DTYPES:
                layouts = [LAYOUTS[(number + k) % len(LAYOUTS)] if k else "contiguous" for k in range(3)]
                for per_sample in ((False, False), (True, True)):
                    given = call(shape, (dtype,) * 3, rows, draws, layouts, per_sample, seed=number)
                    add(*ops.affine(*given))
                    tensors, _, *rest = given
                    add(ops.norms(tensors, *rest))
    times = torch.tensor([0.1, 0.3, 0.55, 1.0], dtype=torch.float64)
    for shape in ((2, 300), (400, 3)):
        for dtype in DTYPES:
            add(*ops.brownian(shape, torch.tensor([4]), 1, 2, times, 1.0, True, dtype))
            add(ops.normal(shape, torch.tensor([4]), 1, torch.tensor([3]), dtype))
    net = torchdiff.wrap(lambda x, t: torch.tanh(x), "eps")
    add(torchdiff.sample(net, "vp", "ddpm", steps=5, shape=(3, 333), seed=1).x)
    print(ops.backend().build["simd"], digest.hexdigest())


if __name__ == "__main__":
    main()
