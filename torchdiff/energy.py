"""The gradient of an energy network."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from torchdiff.errors import NetworkError


def gradient(energy: Callable[..., Any], blocks: Sequence[Tensor], times: Tensor) -> Tensor:
    """dE / d(last block), (B, *event), of energy(*blocks, times) = E (B,) or (B, 1); each sample's E is its own.

    Works under torch.no_grad and torch.inference_mode. Where derivatives are recorded, it is differentiable itself.
    Raises NetworkError for an answer of another shape, or one that does not depend on the block.
    """
    recorded = torch.is_grad_enabled() and not torch.is_inference_mode_enabled()
    with torch.inference_mode(False), torch.enable_grad():
        inputs = [usable(t) for t in (*blocks, times)]
        last = inputs[-2]
        if not (recorded and last.requires_grad):
            last = last.detach().requires_grad_()
        inputs[-2] = last
        total = energy(*inputs)
        if not isinstance(total, Tensor) or total.shape not in ((len(last),), (len(last), 1)):
            came = tuple(total.shape) if isinstance(total, Tensor) else type(total).__name__
            raise NetworkError(
                f"an energy network returns E of shape ({len(last)},), one number a sample, as log p is; got {came}"
            )
        if not total.requires_grad:
            raise NetworkError("the energy does not depend on x by operations that autograd records; is it detached?")
        (found,) = torch.autograd.grad(total.sum(), last, create_graph=recorded, allow_unused=True)
    if found is None:
        raise NetworkError("the energy does not depend on the block whose score is asked for")
    return found if recorded else found.detach()


def usable(value: Any) -> Any:
    """A tensor that autograd can save: a copy of one that inference mode made. Other values as they are."""
    if isinstance(value, Tensor) and value.is_inference():
        with torch.inference_mode(False):
            return value.clone()
    return value
