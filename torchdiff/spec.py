"""Specs: SDEs, solvers and grids as text, the same in Python, on the command line and in stored plans.

    vp        ddim:eta=0.5        predictor_corrector:predictor=(ddim:eta=0.5),corrector=(langevin:snr=0.16)

- A colon ends the name; options are `option=value`, separated by commas. White space around names, options, values,
  colons, commas and equal signs is ignored.
- A value in parentheses is taken as it stands between them and may hold commas, colons, equal signs, white space and
  balanced parentheses; outside of parentheses a value holds none of these. `()` is the empty text.
- Values are read by the type of the option: float and int in ASCII decimal (no nan; inf only where it is the default),
  bool as true/false, yes/no or 1/0, None as none; all else is text.
- `distribution/name`, or `distribution:name` where no built-in has the distribution's name, picks one of two plugins.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from torchdiff.errors import OptionError, shown

NAME = re.compile(r"[a-z][a-z0-9_]*")
_RESERVED = re.compile(r"[,:=()]")


def parse_options(text: str, start: int) -> dict[str, str]:
    """The options of text[start:], by name, in order; values without their outer parentheses.

    Raises OptionError with a caret before the character that does not fit.
    """
    options: dict[str, str] = {}
    for begin, end in _pieces(text, start):
        name, equals, value = text[begin:end].partition("=")
        name, value, at = name.strip(), value.strip(), begin + len(name) + 1
        if not NAME.fullmatch(name):
            raise _error(text, begin, f"expected option=value, got {shown(text[begin:end].strip())}")
        if not equals or not value:
            raise _error(text, end, f"option {name!r} has no value ('()' is the empty text)")
        if name in options:
            raise _error(text, begin, f"option {name!r} is given twice")
        options[name] = _bare(text, at, value)
    return options


def _pieces(text: str, start: int) -> Iterator[tuple[int, int]]:
    """(begin, end) of what stands between the commas outside of parentheses."""
    opened: list[int] = []
    begin = start
    for i in range(start, len(text)):
        if text[i] == "(":
            opened.append(i)
        elif text[i] == ")":
            if not opened:
                raise _error(text, i, "unbalanced ')'")
            opened.pop()
        elif text[i] == "," and not opened:
            yield begin, i
            begin = i + 1
    if opened:
        raise _error(text, opened[-1], "unbalanced '('")
    yield begin, len(text)


def _bare(text: str, at: int, value: str) -> str:
    """The value without its outer parentheses; `value` is text[at:...] stripped, with balanced parentheses."""
    odd = _RESERVED.search(value)
    if odd is None:
        return value
    at = text.index(value, at)
    depth = 0
    for i, letter in enumerate(value):
        depth += (letter == "(") - (letter == ")")
        if depth == 0:
            if i == 0:
                raise _error(text, at + odd.start(), f"{odd.group()!r} in a value needs parentheses around the value")
            if i < len(value) - 1:
                raise _error(text, at + i + 1, "a value in parentheses ends with ')'")
    return value[1:-1]


def _error(text: str, at: int, message: str) -> OptionError:
    begin = max(0, at - 40)
    part = ("..." if begin else "") + text[begin:at] + "^" + text[at : at + 20] + ("..." if at + 20 < len(text) else "")
    return OptionError(f"{message} at character {at + 1}: {part!r}")


def quote(text: str) -> str:
    """A value as it stands in a spec: in parentheses where it needs them. Raises OptionError for unbalanced ones."""
    if text and text == text.strip() and not _RESERVED.search(text):
        return text
    if parse_options(f"x=({text})", 0) != {"x": text}:
        raise OptionError(f"unbalanced parentheses: {shown(text)} cannot stand in a spec")
    return f"({text})"
