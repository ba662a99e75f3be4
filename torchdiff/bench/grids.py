"""What the samples look like: a row a contender, a block of columns a budget, the same noise down each column."""

from __future__ import annotations

from typing import Any

import numpy as np

from torchdiff.bench.cells import Cells
from torchdiff.bench.colours import FLOOR, HUES, INK, RULE, SOFT
from torchdiff.bench.summary import at, budgets, contenders, name, told
from torchdiff.bench.tables import labels
from torchdiff.errors import TorchdiffError
from torchdiff.pictures import pyplot
from torchdiff.registry import TARGETS

ROWS, ACROSS = 12, 30  # contenders, images in a row, at most


def draw(cells: Cells) -> Any:
    """A figure of images or of points in the plane; None where the samples are neither, or were not kept."""
    shown = {(name(c), at(c)): cells.samples[c["key"]] for c in cells if c["key"] in cells.samples}
    if not shown:
        return None
    shape = tuple(next(iter(shown.values())).shape[1:])
    where = [budget for budget in budgets(cells) if any(key[1] == budget for key in shown)]
    rows = [entry for entry in contenders(cells) if any(key[0] == entry for key in shown)][:ROWS]
    if len(shape) == 1 and shape[0] == 2:
        return _points(cells, shown, rows, where)
    if len(shape) == 3 and shape[0] in (1, 3):
        return _images(cells, shown, rows, where)
    return None


def _images(cells: Cells, shown: dict[tuple[str, str], Any], rows: list[str], where: list[str]) -> Any:
    plt = pyplot()
    channels, height, width = next(iter(shown.values())).shape[1:]
    across = min(len(next(iter(shown.values()))), max(2, ACROSS // len(where)))
    wide = 8.6 * min(1.0, across * len(where) / ACROSS) + 1.9
    tall = (8.6 / ACROSS) * height / width
    figure, axes = plt.subplots(
        len(rows), len(where), figsize=(wide, (tall + 0.035) * len(rows) + 0.36), squeeze=False, layout="constrained"
    )
    figure.get_layout_engine().set(w_pad=0.03, h_pad=0.012, wspace=0.0, hspace=0.0)
    for i, row in enumerate(rows):
        for j, budget in enumerate(where):
            axis, x = axes[i, j], shown.get((row, budget))
            _bare(axis)
            if i == 0:
                axis.set_title(told(budget), fontsize=9, color=INK, pad=4)
            if j == 0:
                axis.set_ylabel(labels(cells)[row], rotation=0, ha="right", va="center", fontsize=8.5, color=INK)
            if x is None:
                axis.set_facecolor("none")
                axis.text(
                    0.5, 0.5, "not run", ha="center", va="center", fontsize=8, color=SOFT, transform=axis.transAxes
                )
                continue
            strip = np.concatenate([np.asarray(image) for image in x[:across]], axis=2)
            pixels = ((strip.clip(-1.0, 1.0) + 1.0) * 127.5).round().astype(np.uint8).transpose(1, 2, 0)
            kind = {"cmap": "gray", "vmin": 0, "vmax": 255} if channels == 1 else {}
            axis.imshow(pixels[:, :, 0] if channels == 1 else pixels, interpolation="none", **kind)
    return figure


def _points(cells: Cells, shown: dict[tuple[str, str], Any], rows: list[str], where: list[str]) -> Any:
    plt = pyplot()
    real = _real(cells)
    body = real if real is not None else np.concatenate([np.asarray(x) for x in shown.values()])
    centre, reach = np.median(body, axis=0), 1.15 * float(np.quantile(np.abs(body - np.median(body, axis=0)), 0.998))
    figure, axes = plt.subplots(
        len(rows),
        len(where),
        figsize=(1.5 * len(where) + 1.5, 1.5 * len(rows) + 0.3),
        squeeze=False,
        layout="constrained",
    )
    figure.get_layout_engine().set(w_pad=0.03, h_pad=0.03, wspace=0.0, hspace=0.0)
    for i, row in enumerate(rows):
        for j, budget in enumerate(where):
            axis = axes[i, j]
            axis.set(
                xlim=(centre[0] - reach, centre[0] + reach), ylim=(centre[1] - reach, centre[1] + reach), aspect="equal"
            )
            axis.set(xticks=[], yticks=[])
            axis.patch.set_visible(False)
            for side in axis.spines.values():
                side.set(color=RULE, linewidth=0.6)
            if j == 0:
                axis.set_ylabel(labels(cells)[row], rotation=0, ha="right", va="center", fontsize=8.5, color=INK)
            if i == 0:
                axis.set_title(told(budget), fontsize=9, color=INK, pad=4)
            if real is not None:
                axis.scatter(*real.T, s=2.4, color=FLOOR, alpha=0.35, linewidths=0, rasterized=True)
            x = shown.get((row, budget))
            word = "not run" if x is None else ""
            if x is not None:
                near = (np.abs(np.asarray(x) - centre) < reach).all(axis=1)
                word = "" if near.any() else "all outside"
                axis.scatter(*np.asarray(x)[:500].T, s=2.0, color=HUES[0], linewidths=0, rasterized=True)
            axis.text(0.5, 0.5, word, ha="center", va="center", fontsize=8, color=SOFT, transform=axis.transAxes)
    return figure


def _bare(axis: Any) -> None:
    axis.set_xticks([])
    axis.set_yticks([])
    for side in axis.spines.values():
        side.set_visible(False)
    axis.patch.set_visible(False)


def _real(cells: Cells) -> Any:
    """Points of the target, where the cells name one."""
    try:
        return TARGETS.get(cells.header["config"]["subject"]).sample(1000, seed=7).numpy()
    except TorchdiffError:
        return None
