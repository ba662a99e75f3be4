"""What a user gives to `sample`, checked and put into shape."""

from __future__ import annotations

import operator
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from torchdiff import ops
from torchdiff.conventions import CONVENTIONS
from torchdiff.denoiser import Denoiser
from torchdiff.errors import OptionError
from torchdiff.plans import Plan

DTYPES = (torch.float32, torch.float64, torch.float16, torch.bfloat16)


class Place(NamedTuple):
    """Of a block of the state: shape (batch first), dtype and device."""

    shape: tuple[int, ...]
    dtype: torch.dtype
    device: torch.device


def denoiser(net: Any, prediction: str | None, cond: Mapping[str, Any] | None) -> Denoiser:
    """The network with its meaning; a wrap knows what it predicts, and a second opinion that differs is an error."""
    cond = {} if cond is None else cond
    if not isinstance(cond, Mapping) or not all(isinstance(name, str) for name in cond):
        raise OptionError(f"cond holds keyword arguments for the network, {{'label': ...}} say, got {cond!r}")
    if hasattr(net, "meaning") and hasattr(net, "mix"):
        if prediction is not None and CONVENTIONS.get(prediction) != CONVENTIONS.get(net.prediction):
            raise OptionError(f"net is wrapped as predicting {net.prediction!r}, prediction = {prediction!r} differs")
        return net.bind(cond) if cond else net
    if prediction is None:
        raise OptionError(f"say what the network predicts: prediction = {', '.join(map(repr, CONVENTIONS))}")
    return Denoiser(net, prediction).bind(cond)


def start(
    plan: Plan, net: Any, shape: Sequence[int] | None, x: Any, dtype: torch.dtype | None, device: Any
) -> tuple[tuple[Tensor, ...] | None, Place]:
    """The starting blocks if x was given, and where the state lives."""
    if (shape is None) == (x is None):
        raise OptionError("give shape (batch first) or x to start from, one of the two")
    if x is None:
        return None, Place(sizes(shape), float_type(dtype or torch.float32), _device(device, net))
    blocks = (x,) if isinstance(x, Tensor) or not isinstance(x, Sequence) else tuple(x)
    if len(blocks) != plan.blocks or not all(isinstance(block, Tensor) for block in blocks):
        got = ", ".join(type(block).__name__ for block in blocks)
        raise OptionError(f"{plan.sde!r} has {plan.blocks} block(s): x must be as many torch tensors, got {got}")
    if any(block.shape != blocks[0].shape for block in blocks) or blocks[0].dim() == 0:
        shapes = [tuple(block.shape) for block in blocks]
        raise OptionError(f"x needs a batch dimension and one shape for all blocks, got {shapes}")
    place = Place(
        tuple(blocks[0].shape),
        float_type(dtype or blocks[0].dtype),
        _device(blocks[0].device if device is None else device),
    )
    return tuple(block.to(dtype=place.dtype, device=place.device) for block in blocks), place


def prior(factor: Tensor, normals: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """The blocks of x at the first level: a Cholesky factor (n, n) times n standard normals."""
    none = torch.empty(0, dtype=torch.int64, device=factor.device)
    return tuple(ops.affine(normals, row, none, 0, none)[0] for row in factor.split(1))


def index(first_index: Any) -> int:
    """A sample index: a whole number in [0, 2^63)."""
    try:
        value = operator.index(first_index)
    except TypeError:
        value = -1
    if isinstance(first_index, bool) or not 0 <= value < 2**63:
        raise OptionError(f"first_index must be a whole number in [0, 2^63), got {first_index!r}")
    return value


def sizes(shape: Any) -> tuple[int, ...]:
    """A shape, the batch first."""
    try:
        sizes = tuple(operator.index(n) for n in shape)
    except TypeError:
        sizes = (-1,)
    if not sizes or min(sizes) < 0:
        raise OptionError(f"shape is a sequence of whole numbers >= 0, the batch first, got {shape!r}")
    return sizes


def float_type(dtype: Any) -> torch.dtype:
    """A dtype that a state may have."""
    if dtype not in DTYPES:
        raise OptionError(f"the state is float32, float64, float16 or bfloat16, got {dtype}")
    return dtype


def _device(device: Any, net: Any = None) -> torch.device:
    """The device asked for, else that of the network's first parameter, else the CPU; checked to be usable."""
    if device is None:
        module = net.net if hasattr(net, "meaning") else net
        parameters = module.parameters() if isinstance(module, torch.nn.Module) else iter(())
        first = next(parameters, None)
        device = "cpu" if first is None else first.device
    try:
        found = torch.device(device)
        if found.type == "meta":
            raise RuntimeError("it holds no values")
        torch.empty(0, device=found)
    except (RuntimeError, AssertionError, TypeError, NotImplementedError) as error:
        raise OptionError(f"device {device!r} cannot be sampled on: {str(error).splitlines()[0]}") from error
    return found
