"""An analysis as a table for people."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from torchdiff.gaussian import Errors
from torchdiff.registry import SDES, SOLVERS

if TYPE_CHECKING:
    from torchdiff.analysis import Analysis

NOTE = (
    "W2 in units of the data, whose size is the root of the sum of the eigenvalues; KL(data | result) in nats.\n"
    "Of it: prior, the start from the prior; discrete, the finite number of steps, whose slope is the order; end, the\n"
    "end at t_min. Along each eigenvector they add up to the whole, so that the whole W2 is at most their sum.\n"
    "Eigenvalues are counted from the largest; + is too much spread, - too little."
)


def table(found: Analysis) -> str:
    """A line for each number of steps; the errors of bands of eigenvalues beside those of the whole."""
    first = found.rows[0].plan
    values = found.spectrum.variance
    start, last = first.grid[0].t, first.grid[-1 - first.final].t
    title = (
        f"{SOLVERS.label(first.solver)} on {SDES.label(first.sde)}, t = {start:g} to {last:g}"
        f"{' and a denoising step' if first.final else ''}, grid {found.grid}; exact, on Gaussian data with "
        f"{values.size} eigenvalue{'s' * (values.size != 1)} from {values.max():.3g} to {values.min():.3g}"
    )
    bands = found.bands()
    heads = [f"{low}" if low == high else f"{low}-{high}" for low, high in bands]
    head = ["steps", "calls", "W2", "W2/size", "KL", "order", "prior", "discrete", "end", *heads]
    lines = [head]
    for row in found.rows:
        size = row.size or 1.0
        parts = [_percent(part.w2 / size) for part in (row.split.prior, row.split.steps, row.split.end)]
        per = [_percent(_band(row.split.total, values, low, high), sign=True) for low, high in bands]
        order = "" if math.isnan(row.order) else f"{row.order:.2f}"
        numbers = [f"{row.w2:.4g}", _percent(row.relative), f"{row.kl:.3g}", order]
        lines.append([str(row.plan.steps), str(row.plan.calls), *numbers, *parts, *per])
    widths = [max(len(line[i]) for line in lines) for i in range(len(head))]
    body = ["  ".join(cell.rjust(width) for cell, width in zip(line, widths, strict=True)) for line in lines]
    place = sum(widths[:6]) + 12
    flat = ["KL is infinite where the data does not vary along some eigenvector."] if values.min() == 0.0 else []
    over = " " * place + "of it".ljust(sum(widths[6:9]) + 6) + "error of the standard deviation, by eigenvalue"
    return "\n".join([title, "", over.rstrip(), body[0], "-" * max(map(len, body)), *body[1:], "", NOTE, *flat])


def _band(errors: Errors, values: Any, low: int, high: int) -> float:
    """The error of the standard deviation of a band over it, both root mean squares, with the sign of the mean error.

    nan where the data has none: below 1e-6 of the largest.
    """
    order = np.argsort(-values, kind="stable")[low - 1 : high]
    spread, error = values[order].sum(), errors.deviation[order]
    if spread <= 1e-12 * values.max() * len(order):
        return math.nan
    return math.copysign(math.sqrt(float(error @ error) / float(spread)), float(error.mean()))


def _percent(part: float, sign: bool = False) -> str:
    """0.0123 as 1.23%; three digits, and no more than five places."""
    if math.isnan(part):
        return "-"
    value = 100.0 * part
    digits = 0 if abs(value) >= 99.95 else 1 if abs(value) >= 9.995 else 2 if abs(value) >= 0.9995 else 4
    text = f"{value:+.{digits}f}" if sign else f"{value:.{digits}f}"
    return ("0" if float(text) == 0.0 and part == 0.0 else text) + "%"
