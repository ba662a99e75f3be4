"""Philox4x32-10 on int64 tensors: the integer half of the noise, in plain torch.

Words are 32-bit values held in int64 tensors. Products of two words reach 2^64 and wrap in int64, which keeps the
bits: the high word is read with a shift and a mask, so the sign never matters.
Source: Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3", constants of Random123's philox.h.
"""

from __future__ import annotations

import torch
from torch import Tensor

MASK32 = 0xFFFFFFFF
GOLDEN = 0x9E3779B97F4A7C15 - 2**64  # odd, so high draw words never share a key; written as the int64 with its bits
_M0, _M1 = 0xD2511F53, 0xCD9E8D57
_W0, _W1 = 0x9E3779B9, 0xBB67AE85


def philox(counter: tuple, key: tuple, rounds: int = 10) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Four random words for a counter of four words and a key of two.

    counter, key: int64 tensors of words in [0, 2^32), shapes that broadcast together.
    """
    c0, c1, c2, c3 = counter
    k0, k1 = key
    for _ in range(rounds):
        p0, p1 = c0 * _M0, c2 * _M1
        c0, c1, c2, c3 = (
            (p1 >> 32) & MASK32 ^ c1 ^ k0,
            p1 & MASK32,
            (p0 >> 32) & MASK32 ^ c3 ^ k1,
            p0 & MASK32,
        )
        k0, k1 = (k0 + _W0) & MASK32, (k1 + _W1) & MASK32
    return c0, c1, c2, c3


def words(batch: int, blocks: int, seeds: Tensor, first_index: int, draw: Tensor) -> tuple[Tensor, ...]:
    """The four words of every block of `batch` samples: tensors (batch, blocks) int64.

    key = seed + (draw >> 32) * GOLDEN mod 2^64, counter = (block, draw mod 2^32, sample mod 2^32, sample >> 32).
    seeds: (1,), sample i has index first_index + i; or (batch,), every sample has index first_index and its own seed.
    draw:  one-element int64 tensor, its 64 bits read as unsigned.
    """
    device = seeds.device
    draw = draw.reshape(())
    key = (seeds + ((draw >> 32) & MASK32) * GOLDEN).view(-1, 1)
    sample = torch.full((1, 1), first_index, dtype=torch.int64, device=device)
    if seeds.numel() == 1:
        sample = sample + torch.arange(batch, dtype=torch.int64, device=device).view(-1, 1)
    block = torch.arange(blocks, dtype=torch.int64, device=device).view(1, -1)
    counter = (block, draw & MASK32, sample & MASK32, (sample >> 32) & MASK32)
    result = philox(counter, (key & MASK32, (key >> 32) & MASK32))
    return tuple(word.expand(batch, blocks) for word in result)
