"""Options: the fields of a dataclass as a spec gives them, read by their types."""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

from torchdiff.errors import OptionError, shown
from torchdiff.spec import quote

REQUIRED = dataclasses.MISSING  # the default of an option that has none
BOOLS = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
_EXPECTED = {"None": "none", "bool": "true or false", "int": "a whole number", "float": "a finite number"}


class Option(NamedTuple):
    """One option: its name, the text of its type, its default or REQUIRED, and that as it stands in a spec."""

    name: str
    type: str
    default: Any
    text: str = ""

    def __str__(self) -> str:
        return f"{self.name}={self.text}"


def options_of(cls: type, text: Callable[[Any], str | None]) -> tuple[Option, ...]:
    """What a dataclass can be built with; () for any other class. `text` is `write`, or one that writes more."""
    if not dataclasses.is_dataclass(cls):
        return ()
    found = []
    for field in dataclasses.fields(cls):
        if field.init:
            default = field.default if field.default_factory is REQUIRED else field.default_factory()
            kind = field.type if isinstance(field.type, str) else getattr(field.type, "__name__", str(field.type))
            words = f"<{kind}>" if default is REQUIRED else text(default)
            found.append(Option(field.name, kind, default, shown(default) if words is None else words))
    return tuple(found)


def build(what: str, cls: type, known: Iterable[Option], given: Mapping[str, Any]) -> Any:
    """cls(**given), values read by the types of the known options. `what` names it in messages: "solver 'ddim'".

    Raises OptionError for an option that is unknown, missing or of another type, and for a class that cannot be built.
    """
    options = {option.name: option for option in known}
    listed = ", ".join(map(str, options.values())) or "none"
    for name in given:
        if name not in options:
            raise OptionError(f"{what} has no option {shown(name)}; its options: {listed}")
    missing = [o.name for o in options.values() if o.default is REQUIRED and o.name not in given]
    if missing:
        raise OptionError(f"{what} needs {', '.join(missing)}; its options: {listed}")
    values = {name: read(f"{what}, option {name!r}", options[name], value) for name, value in given.items()}
    try:
        return cls(**values)
    except TypeError as error:  # an abstract class, or one that is no dataclass and wants arguments
        raise OptionError(f"{what} cannot be built: {error}") from error


def read(where: str, option: Option, value: Any) -> Any:
    """The value of an option as its type says, from text or from a Python object.

    A type that is none of bool, int, float and None ("str", "str | Solver") takes any text as it is. Not a number is
    no value, infinity only where it is the default. Raises OptionError saying what came and what was expected.
    """
    kinds = {kind.strip() for kind in re.sub(r"Optional\[(.*)\]", r"\1 | None", option.type).split("|")}
    for kind in ("None", "bool", "int", "float"):
        if kind in kinds:
            fits, result = _as(kind, value, option.default)
            if fits:
                return result
    if kinds - set(_EXPECTED) and (isinstance(value, str) or kinds != {"str"}):
        return value
    expected = " or ".join(_EXPECTED[kind] for kind in ("int", "float", "bool", "None") if kind in kinds) or "text"
    raise OptionError(f"{where}: expected {expected}, got {shown(value)}")


def _as(kind: str, value: Any, default: Any) -> tuple[bool, Any]:
    """(whether it is one, the value as bool, int, float or None)."""
    if isinstance(value, str):
        value = value.strip()
        if kind == "None":
            return value.lower() == "none", None
        if kind == "bool":
            return value.lower() in BOOLS, BOOLS.get(value.lower())
        if not value.isascii() or "_" in value:  # int() and float() take digits of any script, and 1_000
            return False, None
    elif kind == "None" or isinstance(value, bool):
        return value is None or kind == "bool", value
    elif kind == "bool" or (kind == "int" and not hasattr(value, "__index__")):
        return False, None
    try:
        number = int(value) if kind == "int" else float(value)
    except (TypeError, ValueError, OverflowError):
        return False, None
    return abs(number) < math.inf or number == default, number


def write(value: Any) -> str | None:
    """The inverse of `read`: text that reads back as the value; None for an object that has no such text."""
    if value is None or isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int):
        return str(int(value))
    if isinstance(value, float):
        return repr(float(value))
    return quote(value) if isinstance(value, str) else None
