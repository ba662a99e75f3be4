"""Lists of names with options, as a command line has them: "ddim:eta=0.5,dpmpp_*,karras:rho=7"."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from torchdiff.errors import OptionError, UnknownNameError, shown
from torchdiff.registry import Registry

_OPTION = re.compile(r"\s*[a-zA-Z_]\w*\s*=")
_PATTERN = re.compile(r"[*?\[]")

LIBRARIES = ("diffusers", "azula")  # whose samplers are contenders, as library:sampler


def theirs(spec: str) -> bool:
    """Whether a contender, by its spec or by what begins with it, is of another library."""
    return spec.startswith(tuple(f"{library}:" for library in LIBRARIES))


def split(text: str) -> list[str]:
    """The specs between the commas. A piece that is `option=value` belongs to the spec before it.

    No name holds an equal sign, so this has one reading only.
    """
    pieces: list[str] = []
    depth, begin = 0, 0
    for i, letter in enumerate(text + ","):
        depth += (letter == "(") - (letter == ")")
        if letter == "," and (depth <= 0 or i == len(text)):
            piece, begin = text[begin:i], i + 1
            if _OPTION.match(piece) and pieces:
                pieces[-1] += f",{piece}"
            else:
                pieces.append(piece)
    found = [piece.strip() for piece in pieces]
    if not all(found):
        raise OptionError(f"expected names between commas, got {shown(text)}")
    return found


def listed(given: str | Iterable[str], registry: Registry) -> list[str]:
    """The specs of a list, each once and in order, patterns replaced by the names that fit.

    Raises OptionError for none, UnknownNameError for a pattern that no name fits; names are not looked up.
    """
    texts = split(given) if isinstance(given, str) else [str(text) for text in given]
    found: list[str] = []
    for text in texts:
        name = text.partition(":")[0]
        if not _PATTERN.search(name):
            found.append(text)
            continue
        if ":" in text:
            raise OptionError(f"a pattern has no options: {shown(text)}; name the {registry.kind} that they are for")
        fits = registry.names(name)
        if not fits:
            raise UnknownNameError(f"no {registry.kind} is like {shown(name)}; known: {', '.join(registry.names())}")
        found += fits
    if not found:
        raise OptionError(f"no {registry.kind} is named; known: {', '.join(registry.names())}")
    return list(dict.fromkeys(found))


def wholes(name: str, given: Sequence[int] | int, low: int, high: int) -> tuple[int, ...]:
    """Whole numbers in [low, high], each once and in order. Raises OptionError for others and for none."""
    values = [given] if isinstance(given, int) else list(given)
    for value in values:
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            raise OptionError(f"{name} are whole numbers from {low} to {high}, got {shown(value)}")
    if not values:
        raise OptionError(f"{name} are whole numbers from {low} to {high}, got none")
    return tuple(dict.fromkeys(values))
