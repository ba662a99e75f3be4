"""What samplers of other libraries share: their options as text, our starting noise, their failures in a line."""

from __future__ import annotations

import contextlib
import inspect
import warnings
from collections.abc import Callable, Iterator
from difflib import get_close_matches
from typing import Any

from torch import Tensor

from torchdiff.bench.contenders import Scene
from torchdiff.blocks import Blocks
from torchdiff.counters import PRIOR, draw_number
from torchdiff.errors import IncompatibleError, OptionError, UnknownNameError, shown
from torchdiff.noise import normal
from torchdiff.options import Option, read
from torchdiff.predict import Prediction
from torchdiff.predict import read as predicted
from torchdiff.sde.base import Level
from torchdiff.spec import NAME, parse_options, quote

Options = tuple[tuple[str, Any], ...]
GOLDEN = 0x9E3779B97F4A7C15


def parsed(
    library: str, text: str, known: list[str], find: Callable[[str], Any], taken: set[str]
) -> tuple[str, Options]:
    """(name, options) of NAME or NAME:option=value,... Values are read by the types of the constructor's defaults.

    known: the names there are; find(name): the class; taken: options that are the bench's own business.
    Raises UnknownNameError or OptionError.
    """
    name, colon, _ = text.partition(":")
    if name not in known:
        near = [word for word in known if name and word.lower().startswith(name.lower())]
        near = near or get_close_matches(name, known, n=1, cutoff=0.3)
        hint = f"; did you mean {' or '.join(near[:3])}?" if near else f"; known: {', '.join(known)}"
        raise UnknownNameError(f"{library} has no sampler {shown(name)}{hint}")
    options = {key: option for key, option in options_of(find(name)).items() if key not in taken}
    values = []
    for key, value in (parse_options(text, len(name) + 1) if colon else {}).items():
        if key not in options:
            raise OptionError(f"{name} has no option {shown(key)} here; its options: {', '.join(options) or 'none'}")
        values.append((key, read(f"{name}, option {key!r}", options[key], value)))
    return name, tuple(values)


def options_of(cls: type) -> dict[str, Option]:
    """The arguments of a class's constructors, those of its bases too, by name."""
    found = {}
    for base in cls.__mro__:
        for key, parameter in inspect.signature(base.__init__).parameters.items() if base is not object else ():
            default = parameter.default
            if NAME.fullmatch(key) and key != "self" and parameter.kind not in (2, 4):  # *args and **kwargs
                kind = "int | float | str | None" if default in (None, parameter.empty) else type(default).__name__
                found.setdefault(key, Option(key, kind, default, str(default)))
    return found


def spec(library: str, name: str, options: Options) -> str:
    texts = [f"{key}={quote(str(v).lower() if v is None or isinstance(v, bool) else str(v))}" for key, v in options]
    return f"{library}:{name}" + (":" + ",".join(texts) if texts else "")


def start(scene: Scene, seed: int, first: int, count: int) -> Tensor:
    """The standard normals that `torchdiff.sample` starts these samples from, (count, *shape)."""
    draw = draw_number(PRIOR, block=0)
    return normal((count, *scene.shape), seed=seed, first_index=first, draw=draw, dtype=scene.dtype).to(scene.device)


def mixed(seed: int, first: int) -> int:
    """A seed for their own noise, which depends on the batch: one that starts elsewhere gets other noise."""
    return (seed + GOLDEN * first) % 2**63


def ask(scene: Scene, bound: Any, x: Tensor, level: Level) -> Prediction:
    """What the network says at x: one evaluation, guidance and input scale included."""
    scale = bound.scale(level)
    said = bound(x * scale if scale != 1.0 else x, level)
    found = predicted(scene.sde, bound, x, said, level)
    assert not isinstance(x, Blocks)
    return found  # pyright: ignore[reportReturnType]


def ended(scene: Scene, x: Tensor) -> tuple[Tensor, Tensor]:
    """(samples, decoded where they are latents; (count,) bool: those that are finite), from their state."""
    x = x.to(scene.dtype)
    fine, latent = _finite(x), scene.denoiser.latent
    if latent is None:
        return x, fine
    x = latent.decoded(x)
    return x, fine & _finite(x)


def _finite(x: Tensor) -> Tensor:
    return x.isfinite().reshape(len(x), -1).all(dim=1)


@contextlib.contextmanager
def theirs(who: str) -> Iterator[None]:
    """Their failures by name, in the family of ours; ours as they are. What they do that is deprecated is not told."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            warnings.simplefilter("ignore", FutureWarning)
            yield
    except ValueError as error:
        if type(error).__module__.startswith("torchdiff"):
            raise
        raise IncompatibleError(f"{who} fails: {error}") from error
    except (RuntimeError, TypeError, IndexError, AttributeError, NotImplementedError, ArithmeticError) as error:
        raise IncompatibleError(f"{who} fails: {type(error).__name__}: {error}") from error
