"""How a network is called, and where in its answer the output is."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torchdiff.errors import NetworkError, OptionError, shown


@dataclass(frozen=True)
class Calling:
    """The way to the network and back; `wrap` has the words.

    joined:     the blocks of the state go in as one tensor, concatenated along dim 1.
    output:     where the output is in what the network returns: an index, a key or attribute, or a function. None: it
                is the answer, its one entry, or its `.sample`.
    variance:   the network returns (B, 2C, ...): the prediction, then what it says of the variance.
    dtype:      of the network; the state is converted to it, times to it or float32, whichever is finer.
    time_dtype: of the times, if another is wanted; times become the nearest whole number for an integer one.
    gradient:   the network is an energy (B,), the output its gradient by the last block.
    """

    joined: bool = False
    output: int | str | Callable[[Any], Any] | None = None
    variance: bool = False
    dtype: Any = None
    time_dtype: Any = None
    gradient: bool = False

    def __post_init__(self) -> None:
        for name, dtype in (("dtype", self.dtype), ("time_dtype", self.time_dtype)):
            if dtype is not None and not hasattr(dtype, "is_floating_point"):
                raise OptionError(f"{name} is a torch dtype, torch.float16 say, or None, got {shown(dtype)}")
        if self.dtype is not None and not self.dtype.is_floating_point:
            raise OptionError(f"dtype is that of the network's numbers, a floating one, got {self.dtype}")
        if not (self.output is None or callable(self.output) or type(self.output) in (int, str)):
            raise OptionError(f"output is an index, a key or attribute, a function or None, got {shown(self.output)}")
        if self.gradient and self.variance:
            raise OptionError("an energy network has no variance channels; leave variance out")

    def __call__(self, net: Any, blocks: Sequence[Any], times: Any, cond: Mapping[str, Any]) -> Any:
        """What the network says at these inputs: a tensor, unless it says something else."""
        given, times = self.given(blocks), self.told(times)
        if not self.gradient:
            return self.found(self.ask(net, given, times, cond))
        from torchdiff.energy import gradient, usable  # not above: it loads torch, which a plan needs not

        cond = {name: usable(value) for name, value in cond.items()}
        return gradient(lambda *inputs: self.found(self.ask(net, inputs[:-1], inputs[-1], cond)), given, times)

    def ask(self, net: Any, blocks: Sequence[Any], times: Any, cond: Mapping[str, Any]) -> Any:
        return net(_joined(blocks), times, **cond) if self.joined else net(*blocks, times, **cond)

    def given(self, blocks: Sequence[Any]) -> Sequence[Any]:
        return blocks if self.dtype is None else [block.to(self.dtype) for block in blocks]

    def told(self, times: Any) -> Any:
        """The times as the network wants them."""
        if self.time_dtype is not None:
            return (times if self.time_dtype.is_floating_point else times.round()).to(self.time_dtype)
        if self.dtype is None:
            return times
        return times.to(self.dtype) if self.dtype.itemsize >= 4 else times.float()

    def found(self, answer: Any) -> Any:
        """The output in a network's answer. Raises NetworkError for an answer without it."""
        if self.output is None:
            return unwrapped(answer)
        if callable(self.output):
            return self.output(answer)
        try:
            if isinstance(self.output, int) or hasattr(answer, "keys"):
                return answer[self.output]
            return getattr(answer, self.output)
        except (LookupError, TypeError, AttributeError) as error:
            raise NetworkError(f"the network returned {type(answer).__name__}, which has no {self.output!r}") from error

    def parted(self, output: Any, x: Any) -> tuple[Any, ...]:
        """(output,), or with `variance` (prediction, variance) from (B, 2C, ...); NetworkError for another shape."""
        if not self.variance:
            return (output,)
        if x.dim() < 2 or output.shape != (x.shape[0], 2 * x.shape[1], *x.shape[2:]):
            raise NetworkError(
                f"the network returned shape {tuple(output.shape)} for an input of shape {tuple(x.shape)}: with "
                f"variance=True it returns twice the channels, the prediction and then the variance, along dim 1"
            )
        return output.narrow(1, 0, x.shape[1]), output.narrow(1, x.shape[1], x.shape[1])


def unwrapped(answer: Any) -> Any:
    """A tensor: itself, the one entry of a sequence, or the `.sample` of an object; else the answer as it is."""
    if hasattr(answer, "new_full"):  # duck typing: plans are made without torch
        return answer
    if hasattr(sample := getattr(answer, "sample", None), "new_full"):
        return sample
    if isinstance(answer, tuple | list) and len(answer) == 1:
        return answer[0]
    return answer


def _joined(blocks: Sequence[Any]) -> Any:
    import torch

    if blocks[0].dim() < 2:
        raise OptionError(f"joined=True concatenates along dim 1, the state has shape {tuple(blocks[0].shape)}")
    return torch.cat(list(blocks), dim=1)
