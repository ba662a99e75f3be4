"""The watch over a network's outputs: the first value that is not finite, by sample."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from torchdiff.errors import NonFiniteError, OptionError

NEVER = 1 << 62


class Guard:
    """Remembers for each sample the first network call that returned nan or infinity.

    mode: "raise" NonFiniteError at once where reading a flag is free (CPU), at the end of the run elsewhere, so that no
    accelerator is made to wait; "mark" only remembers; "ignore" does not look.
    """

    def __init__(
        self, mode: str, batch: int, device: torch.device, quick: Callable[[Tensor], bool] | None = None
    ) -> None:
        if mode not in ("raise", "mark", "ignore"):
            raise OptionError(f"on_nonfinite is 'raise', 'mark' or 'ignore', got {mode!r}")
        self.mode, self.prompt = mode, device.type == "cpu"
        self.quick = quick or (lambda x: False)  # True only if all is finite
        self.first = torch.full((batch,), NEVER, dtype=torch.int64, device=device)
        # (interval, t, or one t a sample) of each call; who knows that outputs are finite enters theirs without a look
        self.calls: list[tuple[int, Any]] = []

    def look(self, output: Tensor, level: Any, step: int) -> None:
        """level: a Level, or what has the times of the samples as its t."""
        if self.mode == "ignore":
            return
        call = len(self.calls)
        self.calls.append((step, level.t))
        if self.prompt:
            if self.quick(output):
                return
            # nan and infinities survive any sum: a finite one, at a fifth of the price, spares the exact look, which
            # has to follow where finite values overflow
            total = output.sum().item()
            if total - total == 0.0:
                return
        fine = _finite(output)
        self.first = torch.where(fine, self.first, self.first.clamp(max=call))
        if self.mode == "raise" and self.prompt and not bool(fine.all()):
            self._fail()

    def finish(self, state: tuple[Tensor, ...]) -> Tensor:
        """(B,) bool: samples that are finite and always were. In the mode "raise", NonFiniteError if one is not."""
        clean = self.first == NEVER
        if self.mode == "raise" and not bool(clean.all()):
            self._fail()
        finite = clean
        for block in state:
            finite = finite & _finite(block)
        if self.mode == "raise" and not bool(finite.all()):
            bad = (~finite).nonzero().flatten().tolist()
            raise NonFiniteError(
                f"the network's outputs were finite, the samples are not: sample {bad[0]} first, {len(bad)} of "
                f"{finite.numel()}; a {state[0].dtype} state may have overflowed, or x was not finite from the start"
            )
        return finite

    def decoded(self, x: Tensor, finite: Tensor) -> Tensor:
        """(B,) bool: finite samples whose decoded x is finite too; in the mode "raise" NonFiniteError for others."""
        fine = finite & _finite(x)
        if self.mode == "raise" and not bool(fine.all()):
            bad = (~fine).nonzero().flatten().tolist()
            raise NonFiniteError(
                f"the latents are finite, what the decoder makes of them is not: sample {bad[0]} first, {len(bad)} of "
                f"{fine.numel()}; a half-precision decoder may have overflowed"
            )
        return fine

    def _fail(self) -> None:
        call = int(self.first.min())
        step, t = self.calls[call]
        bad = (self.first == call).nonzero().flatten().tolist()
        t = t[bad[0]] if isinstance(t, tuple) else t
        raise NonFiniteError(
            f"the network returned a value that is not finite in step {step}, at t = {t:g} (network call {call + 1}): "
            f"sample {bad[0]} first, {len(bad)} of {self.first.numel()} samples; "
            f"on_nonfinite='mark' keeps going and marks them"
        )


def _finite(x: Tensor) -> Tensor:
    """(B,) bool."""
    return x.detach().isfinite().reshape(x.shape[0], math.prod(x.shape[1:])).all(dim=1)
