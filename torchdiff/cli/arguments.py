"""Values on the command line: each reader says what it expects and what came. No torch."""

from __future__ import annotations

import math
import re
from argparse import ArgumentTypeError
from collections.abc import Callable

from torchdiff.errors import shown

MOST_STEPS = 100_000  # a plan of that many steps takes seconds; more is a slip of the finger
INT64 = 2**63


def whole(low: int, high: int) -> Callable[[str], int]:
    """A reader of whole numbers in [low, high]."""

    def read(text: str) -> int:
        # length first: int() of a million digits takes long
        if re.fullmatch(r"\s*[+-]?[0-9]{1,20}\s*", text) and low <= int(text) <= high:
            return int(text)
        raise ArgumentTypeError(f"expected a whole number from {low} to {high}, got {shown(text)}")

    return read


def wholes(low: int, high: int) -> Callable[[str], tuple[int, ...]]:
    """A reader of whole numbers in [low, high] between commas, 1000 at most."""

    def read(text: str) -> tuple[int, ...]:
        parts = text.split(",")
        if len(parts) > 1000:
            raise ArgumentTypeError(f"expected at most 1000 numbers, got {len(parts)}")
        return tuple(whole(low, high)(part) for part in parts)

    return read


def number(text: str) -> float:
    """A finite number."""
    try:
        value = float(text) if text.isascii() and "_" not in text else math.nan
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise ArgumentTypeError(f"expected a finite number, got {shown(text)}")
    return value


def seconds(text: str) -> float:
    """A finite number above zero."""
    if (value := number(text)) > 0.0:
        return value
    raise ArgumentTypeError(f"expected a number of seconds above 0, got {shown(text)}")


def numbers(text: str) -> list[float]:
    """Finite numbers between commas."""
    return [number(part) for part in text.split(",")]


def counts(text: str) -> list[int]:
    """Numbers of steps or calls between commas."""
    return [whole(1, MOST_STEPS)(part) for part in text.split(",")]


def above_zero(text: str) -> float:
    """A finite number above zero."""
    if (value := number(text)) > 0.0:
        return value
    raise ArgumentTypeError(f"expected a number above 0, got {shown(text)}")


def specs(text: str) -> list[str]:
    """Names with options between commas; a comma inside of parentheses, or before another option, ends none.

    "ddim:eta=0.5,dpmpp_2m" are two, "unipc:order=3,variant=bh1" is one: option=value goes on the name before it.
    """
    found: list[str] = []
    depth, piece = 0, ""
    for letter in text + ",":
        if letter == "," and depth == 0:
            option = found and "=" in piece and ":" not in piece.partition("=")[0] and ":" in found[-1]
            if not piece.strip():
                raise ArgumentTypeError(f"expected names between commas, got {shown(text)}")
            found[-1:] = [f"{found[-1]},{piece}"] if option else [*found[-1:], piece.strip()]
            piece = ""
            continue
        depth += (letter == "(") - (letter == ")")
        piece += letter
    if piece.strip(","):
        raise ArgumentTypeError(f"unbalanced parentheses in {shown(text)}")
    return found


def shape(text: str) -> tuple[int, ...]:
    """Sizes between commas, the batch first."""
    sizes = tuple(whole(0, INT64 - 1)(part) for part in text.split(","))
    if math.prod(sizes) >= INT64:
        raise ArgumentTypeError(f"{shown(text)} has more than 2^63 elements")
    return sizes


def factory(text: str) -> tuple[str, str]:
    """package.module:factory as (module, attribute); only checked as text, nothing is imported."""
    module, _, attribute = text.partition(":")
    dotted = r"[^\W\d]\w*(\.[^\W\d]\w*)*"
    if not (re.fullmatch(dotted, module) and re.fullmatch(dotted, attribute)):
        raise ArgumentTypeError(f"expected package.module:factory, got {shown(text)}")
    return module, attribute


def condition(text: str) -> tuple[str, list[float] | None]:
    """name=number, name=number,number,... (one a sample) or name=none; whole numbers stay whole."""
    name, equals, value = text.partition("=")
    if not (name.isidentifier() and equals):
        raise ArgumentTypeError(f"expected name=number or name=number,number,..., got {shown(text)}")
    if value.strip().lower() == "none":
        return name, None
    parts = value.split(",")
    if all(re.fullmatch(r"\s*[+-]?[0-9]+\s*", part) for part in parts):
        return name, [whole(-INT64, INT64 - 1)(part) for part in parts]
    return name, [number(part) for part in parts]
