"""The way from data to the space that a latent model samples in, and back."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torchdiff.amounts import count
from torchdiff.calling import unwrapped
from torchdiff.errors import IncompatibleError, NetworkError, OptionError


@dataclass(frozen=True)
class Latent:
    """Encoder and decoder of a latent model.

    decode: called decode(z), z (b, *latent) -> x (b, *event): a tensor, or an object whose `.sample` is one.
    encode: called encode(x), x (b, *event) -> z (b, *latent); None where only samples are wanted.
    batch:  at most so many samples a call; None for all at once. A decoder's memory is often what limits a batch.
    A scale or shift between the autoencoder and the network belongs into the two functions.
    """

    decode: Callable[[Any], Any]
    encode: Callable[[Any], Any] | None = None
    batch: int | None = None

    def __post_init__(self) -> None:
        for name, function in (("decode", self.decode), ("encode", self.encode)):
            if not callable(function) and not (name == "encode" and function is None):
                raise OptionError(f"{name} is a function of a batch of samples, got {type(function).__name__}")
        if self.batch is not None:
            count("batch", self.batch)

    def decoded(self, z: Any) -> Any:
        return self._apply("decode", self.decode, z)

    def encoded(self, x: Any) -> Any:
        if self.encode is None:
            raise IncompatibleError("increasing times encode data, and this latent model has no encode; give it one")
        return self._apply("encode", self.encode, x)

    def _apply(self, name: str, function: Callable[[Any], Any], x: Any) -> Any:
        import torch

        pieces = []
        for piece in x.split(self.batch) if self.batch is not None and len(x) else (x,):
            made = unwrapped(function(piece))
            if not hasattr(made, "new_full") or made.dim() == 0 or len(made) != len(piece):
                came = tuple(made.shape) if hasattr(made, "new_full") else type(made).__name__
                raise NetworkError(
                    f"{name} returned {came} for {len(piece)} samples; expected a tensor, the batch first"
                )
            pieces.append(made)
        return pieces[0] if len(pieces) == 1 else torch.cat(pieces)
