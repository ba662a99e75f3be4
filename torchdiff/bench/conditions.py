"""The conditions that a bench gives to a user's network: a row for each sample, the same for every contender."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from torchdiff.bench.data import digest, kind, named
from torchdiff.errors import OptionError, shown

NONE = "none"  # the word for no conditions, where the data's file has some
Rows = Callable[[int, int], dict[str, Tensor]]


def conditions(given: Any, beside: Mapping[str, Any], count: int) -> tuple[Rows, str]:
    """(rows(first, count) -> the conditions of these samples, their digest).

    given: a mapping of names to tensors (N, ...), or the name of a file with them: sample i gets row i modulo N. None:
    what stands beside the real samples in their file, `count` rows as they have, in an order that is mixed once, for
    files are often sorted by class: the first samples then have the shares that as many real ones have. "none": none.
    Raises OptionError naming the condition that does not fit, StorageError for a file that cannot be read.
    """
    if given is None:
        found = checked("the condition beside the data", beside)
        for name, value in found.items():
            if len(value) != count:
                raise OptionError(
                    f"the data have {count} samples and {name} beside them has {len(value)} rows; what stands beside x "
                    f"are the conditions of its samples: leave them out by cond='{NONE}', or name others"
                )
        order = torch.randperm(count, generator=torch.Generator().manual_seed(0))
        found = {name: value[order] for name, value in found.items()}
    elif isinstance(given, (str, Path)):
        if given == NONE:
            return (lambda first, count: {}), ""
        if Path(given).suffix == ".npy":
            raise OptionError(
                f"conditions are a .safetensors or .npz file, for .npy has no names; got {shown(str(given))}"
            )
        found = checked("the condition", named("conditions", given))
        if not found:
            raise OptionError(f"{shown(str(given))} has no conditions; name a file with some, or '{NONE}'")
    elif isinstance(given, Mapping):
        found = checked("the condition", given)
    else:
        raise OptionError(f"cond is a mapping of names to tensors (N, ...), or the name of a file, got {shown(given)}")

    def rows(first: int, count: int) -> dict[str, Tensor]:
        places = torch.arange(first, first + count)
        return {name: value[(places % len(value)).to(value.device)] for name, value in found.items()}

    return rows, digest(found)


def checked(what: str, given: Mapping[Any, Any]) -> dict[str, Tensor]:
    """The tensors by name, of one length. Raises OptionError for what is no keyword argument with a row a sample."""
    found: dict[str, Tensor] = {}
    for name, value in given.items():
        if not isinstance(name, str) or not name.isidentifier():
            raise OptionError(f"{what} {shown(name)} is no name of an argument")
        x = torch.from_numpy(value) if type(value).__module__ == "numpy" and value.dtype.kind in "fiub" else value
        if not isinstance(x, Tensor) or x.dim() == 0 or not len(x):
            raise OptionError(f"{what} {name} is {kind(value)}; expected a tensor (N, ...), a row a sample")
        if not bool(x.isfinite().all()):
            wrong = (~x.isfinite()).reshape(len(x), -1).any(1).nonzero()[:, 0]
            raise OptionError(
                f"{what} {name} is not finite in {len(wrong)} of {len(x)} rows, row {int(wrong[0])} first"
            )
        found[name] = x.detach()
    if len(set(map(len, found.values()))) > 1:
        came = ", ".join(f"{name} {len(x)}" for name, x in found.items())
        raise OptionError(f"conditions have as many rows each, a row a sample, got {came}")
    return found


def placed(rows: Rows, device: torch.device, dtype: torch.dtype) -> Rows:
    """The same on a device; floats in the dtype that the network's input has."""

    def moved(first: int, count: int) -> dict[str, Tensor]:
        found = rows(first, count).items()
        return {name: x.to(device, dtype if x.is_floating_point() else None) for name, x in found}

    return moved


def taken(denoiser: Any, blocks: int) -> None:
    """Raises OptionError where the signature of a network says that it does not take the conditions bound to it, or
    that it wants others too. blocks: of the state, each an argument before the time."""
    for core in denoiser.cores:
        places = 2 if core.calling.joined else blocks + 1
        known = _arguments(core.net)
        if known is None:
            continue
        given = sum(p.kind in _BY_PLACE for p in known)
        words = {p.name: p for p in known[min(places, given) :] if p.kind in _BY_NAME}
        free = any(p.kind is inspect.Parameter.VAR_KEYWORD for p in known)
        for name in core.cond:
            if name not in words and not free:
                raise OptionError(
                    f"the network takes no condition {name!r}; its arguments beside state and time are "
                    f"{', '.join(words) or 'none'} (cond='{NONE}' gives it nothing that stands beside the data)"
                )
        for name, argument in words.items():
            if argument.default is argument.empty and name not in core.cond:
                raise OptionError(
                    f"the network wants {name!r} too: give it in cond, a row a sample, or bind it in the wrap"
                )


_BY_PLACE = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
_BY_NAME = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)


def _arguments(net: Any) -> list[inspect.Parameter] | None:
    """The arguments of a network, None where it does not tell."""
    try:
        return list(inspect.signature(net.forward if isinstance(net, torch.nn.Module) else net).parameters.values())
    except (TypeError, ValueError):  # a builtin
        return None
