"""Numbers that a user gives, checked: how many, and how much."""

from __future__ import annotations

import math
import operator
from typing import Any

from torchdiff.errors import OptionError, shown


def count(name: str, value: Any, hint: str = "") -> int:
    """A positive whole number of any integer type. Raises OptionError, with the hint at its end."""
    try:
        number = 0 if isinstance(value, bool) else operator.index(value)
    except TypeError:
        number = 0
    if number < 1:
        raise OptionError(f"{name} must be a positive whole number, got {shown(value)}{hint}")
    return number


def positive(name: str, value: Any) -> float:
    """A finite number above zero. Raises OptionError."""
    if not (found := _number(name, value, "a positive number")) > 0.0:
        raise OptionError(f"{name} must be a positive number, got {shown(value)}")
    return found


def not_negative(name: str, value: Any) -> float:
    """A finite number, zero or more. Raises OptionError."""
    if (found := _number(name, value, "a finite number")) < 0.0:
        raise OptionError(f"{name} must not be negative, got {shown(value)}")
    return found


def _number(name: str, value: Any, wanted: str) -> float:
    try:
        found = math.nan if isinstance(value, str | bytes | bool) else float(value)
    except (TypeError, ValueError, OverflowError):
        found = math.nan
    if not math.isfinite(found):
        raise OptionError(f"{name} must be {wanted}, got {shown(value)}")
    return found
