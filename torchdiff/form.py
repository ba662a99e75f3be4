"""Linear forms: they know only `+`, `-` and `*` by a number, so that a formula run on them writes its weights."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from numbers import Real
from typing import Any

Key = int  # columns >= 0 are live tensors, ~draw < 0 is the fresh normal of that draw number


class Form:
    """A linear combination of columns that is not added up yet: {column: weight}, exact zeros left out.

    Anything but `+`, `-` and `*`, `/` by a number raises TypeError: a formula that does more is not affine and
    belongs to `Solver`, not to `AffineSolver`.
    """

    __slots__ = ("terms",)
    __array_ufunc__ = None  # numpy would take the form for a scalar and return an array of forms

    def __init__(self, terms: Mapping[Key, float] | Iterable[tuple[Key, float]] = ()) -> None:
        self.terms: dict[Key, float] = dict(terms)

    @classmethod
    def column(cls, key: Key) -> Form:
        return cls({key: 1.0})

    @property
    def single(self) -> Key | None:
        """The live column that this form is, with weight exactly 1; None where it is a sum, a multiple or a draw."""
        if len(self.terms) == 1:
            ((key, weight),) = self.terms.items()
            if key >= 0 and weight == 1.0:
                return key
        return None

    @property
    def noisy(self) -> bool:
        return any(key < 0 for key in self.terms)

    def _merge(self, other: Any, sign: float) -> Form:
        if not isinstance(other, Form):
            if isinstance(other, int | float) and other == 0:
                return self  # a score that is zero in an undriven block, and sum() with its start value
            raise TypeError(f"an affine formula adds forms to forms, got {type(other).__name__} {other!r}")
        terms = dict(self.terms)
        for key, weight in other.terms.items():
            total = terms.get(key, 0.0) + sign * weight
            if total == 0.0:
                terms.pop(key, None)
            else:
                terms[key] = total
        return Form(terms)

    def __add__(self, other: Any) -> Form:
        return self._merge(other, 1.0)

    __radd__ = __add__

    def __sub__(self, other: Any) -> Form:
        return self._merge(other, -1.0)

    def __rsub__(self, other: Any) -> Form:
        return (-self)._merge(other, 1.0)

    def __neg__(self) -> Form:
        return Form({key: -weight for key, weight in self.terms.items()})

    def __mul__(self, number: Any) -> Form:
        if not isinstance(number, int | float | Real):
            raise TypeError(
                f"an affine formula multiplies a form by a number known before the first network call, "
                f"got {type(number).__name__}; a step that needs more derives from Solver and runs on tensors"
            )
        number = float(number)  # a float32 scalar would round the weights
        return Form({key: product for key, weight in self.terms.items() if (product := weight * number) != 0.0})

    __rmul__ = __mul__

    def __truediv__(self, number: Any) -> Form:
        if not isinstance(number, int | float | Real):
            raise TypeError(f"an affine formula divides a form by a number, got {type(number).__name__}")
        number = float(number)
        return Form({key: ratio for key, weight in self.terms.items() if (ratio := weight / number) != 0.0})

    def substitute(self, known: Mapping[Key, Form]) -> Form:
        """This form with every column of `known` replaced by its own form."""
        if not any(key in known for key in self.terms):
            return self
        total = Form()
        for key, weight in self.terms.items():
            total = total + (known[key] * weight if key in known else Form({key: weight}))
        return total

    def __repr__(self) -> str:
        parts = (f"{w:+.6g}*{f's{k}' if k >= 0 else f'z{~k}'}" for k, w in self.terms.items())
        return f"Form({' '.join(parts)})"
