"""Work against precision: error by network calls and by seconds, the floor drawn, each line named where it ends."""

from __future__ import annotations

import io
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torchdiff import storage
from torchdiff.bench.cells import Cells
from torchdiff.bench.colours import FLOOR, INK, PAPER, RULE, SOFT, Look, looks
from torchdiff.bench.grids import draw as draw_samples
from torchdiff.bench.store import put
from torchdiff.bench.summary import Score, budgets, contenders, floor, score
from torchdiff.bench.tables import labels
from torchdiff.pictures import pyplot

BANDS = 5  # contenders with a band; of more, each has bars
LOUD = 10  # contenders with a colour; of more, the best of these many
STYLE = {
    "font.size": 9,
    "axes.edgecolor": RULE,
    "axes.labelcolor": SOFT,
    "axes.titlecolor": INK,
    "xtick.color": SOFT,
    "ytick.color": SOFT,
    "text.color": INK,
    "svg.hashsalt": "torchdiff",  # equal pictures are equal files
    "svg.fonttype": "path",
}


def plot(cells: Cells, out: str | Path, drawn: Mapping[str, bytes] | None = None) -> list[Path]:
    """work.png and .svg, samples.png and .svg in the folder `out`; the paths of what there was to draw.

    drawn: what `pictures` made of these cells before.
    Raises DependencyError without matplotlib, StorageError for a folder that cannot be written.
    """
    written = []
    for name, body in (drawn or pictures(cells)).items():
        path = storage.reserve(Path(out) / name, (".png", ".svg"))
        storage.write(path, lambda file, body=body: put(file, body))
        written.append(path)
    return written


def pictures(cells: Cells) -> dict[str, bytes]:
    """File name to content."""
    plt = pyplot()
    found: dict[str, bytes] = {}
    with plt.rc_context(STYLE):
        for name, draw in (("work", _work), ("samples", draw_samples)):
            figure = draw(cells)
            if figure is not None:
                for form in ("png", "svg"):
                    found[f"{name}.{form}"] = _rendered(figure, form)
                plt.close(figure)
    return found


def _rendered(figure: Any, form: str) -> bytes:
    file = io.BytesIO()
    # no date and no version in the file
    facts = {"Software": None} if form == "png" else {"Date": None, "Creator": None}
    paper = {"facecolor": "white"} if form == "png" else {"transparent": True}
    figure.savefig(file, dpi=170, format=form, metadata=facts, **paper)
    return file.getvalue()


def _work(cells: Cells) -> Any:
    """A row a metric: by network calls, by seconds, and the exact error where there is one."""
    plt = pyplot()
    loud = set(_loudest(cells))
    look, names = looks(cells, loud), labels(cells)
    exact = any(cell["exact_w2"] is not None for cell in cells)
    rows, config = [*cells.metrics], cells.header["config"]
    asked = sorted(config["asked"]) if config["way"] == "calls" else []
    figure, axes = plt.subplots(
        len(rows),
        2 + exact,
        figsize=(4.3 * (2 + exact) + 0.4, 3.7 * len(rows) + 0.2),
        squeeze=False,
        layout="constrained",
    )
    figure.get_layout_engine().set(w_pad=0.06, h_pad=0.08, wspace=0.03)
    for row, metric in enumerate(rows):
        lines = {
            n: [s for b in budgets(cells) if (s := score(cells, metric, n, b)) and s.value] for n in contenders(cells)
        }
        for column, (what, x) in enumerate({"network calls": "calls", "seconds a run": "seconds"}.items()):
            _panel(axes[row, column], lines, look, names if column == 0 else {}, x, floor(cells, metric), asked)
            axes[row, column].set(title=f"{metric} by {what}", xlabel=what)
        if exact:
            last = axes[row, 2]
            if row == 0:
                points = {n: [s for s in mine if s.exact] for n, mine in lines.items()}
                _panel(last, points, look, names, "calls", None, asked, exact=True)
                last.set(title="exact error on Gaussian data, W2", xlabel="network calls")
            else:
                last.set_axis_off()
    return figure


def _panel(
    axis: Any, lines: dict[str, list[Score]], look: dict[str, Look], names: dict[str, str], x: str,
    known: tuple[float, float, float] | None, asked: list[int], exact: bool = False,
) -> None:  # fmt: skip
    ends = {}
    for name, scores in lines.items():
        if not scores:
            continue
        way = look[name]
        at = [getattr(s, x) for s in scores]
        values = [(s.exact if exact else s.value) or math.nan for s in scores]
        order = sorted(range(len(at)), key=at.__getitem__) if x == "seconds" else range(len(at))
        at, values = [at[i] for i in order], [values[i] for i in order]
        axis.plot(
            at, values, way.dash, color=way.colour, marker=way.mark or None, markersize=4,
            linewidth=0.8 if way.faint else 1.5, zorder=1 if way.faint else 3,
            markerfacecolor=PAPER if way.hollow else way.colour,
        )  # fmt: skip
        if not exact and not way.faint:
            sides = [(max(scores[i].low or 0.0, 0.25 * (scores[i].value or 0.0)), scores[i].high or 0.0) for i in order]
            if sum(not one.faint for one in look.values()) <= BANDS:
                axis.fill_between(at, *zip(*sides, strict=True), color=way.colour, alpha=0.13, linewidth=0, zorder=2)
            else:  # bands over each other would be one grey
                axis.vlines(at, *zip(*sides, strict=True), color=way.colour, alpha=0.45, linewidth=0.9, zorder=2)
        if name in names and not way.faint:
            ends[name] = (at[-1], values[-1])
    axis.set(xscale="log", yscale="log")
    _ticks(axis, [getattr(s, x) for scores in lines.values() for s in scores], x, asked)
    if known is not None:
        axis.axhspan(known[1], known[2], color=FLOOR, alpha=0.22, linewidth=0, zorder=0)
        axis.axhline(known[0], color=FLOOR, linewidth=0.8, zorder=0)
        axis.annotate(
            "real data", (0.015, known[1]), xycoords=("axes fraction", "data"), xytext=(0, 2), va="bottom",
            textcoords="offset points", fontsize=7.5, color=SOFT,
        )  # fmt: skip
    axis.grid(which="major", color=RULE, linewidth=0.6, alpha=0.7)
    axis.set_axisbelow(True)
    axis.minorticks_off()
    axis.tick_params(length=0)
    axis.set_title(axis.get_title(), fontsize=10)
    for side in axis.spines.values():
        side.set_visible(False)
    _name(axis, ends, look, names)


def _ticks(axis: Any, at: list[float], x: str, asked: list[int]) -> None:
    """The numbers of calls that were asked for, thinned; plain numbers everywhere."""
    from matplotlib.ticker import FuncFormatter, LogLocator

    plain = FuncFormatter(lambda value, _: f"{value:g}")
    axis.yaxis.set_major_formatter(plain)
    axis.xaxis.set_major_formatter(plain)
    if x == "seconds" and at and max(at) < 100.0 * min(at):
        axis.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    low, high = axis.get_ylim()
    if high < 100.0 * low:
        axis.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    if x == "calls" and at:
        places = [number for number in asked if min(at) <= number <= max(at)] or sorted(set(at))
        kept: list[float] = []
        for place in places:
            if not kept or place >= 1.25 * kept[-1]:
                kept.append(place)
        axis.set_xticks(kept, [f"{place:g}" for place in kept])


def _name(axis: Any, ends: dict[str, tuple[float, float]], look: dict[str, Look], names: dict[str, str]) -> None:
    """Labels to the right of the axis at the ends of the lines, pushed apart where they would overlap."""
    if not ends:
        return
    low, high = (math.log(v) for v in axis.get_ylim())
    gap = 0.052 * (high - low) * 3.7 / max(axis.figure.get_size_inches()[1], 3.7) * max(1, len(axis.figure.axes) // 3)
    order = sorted(ends, key=lambda name: ends[name][1])
    places = [math.log(ends[name][1]) for name in order]
    for _ in range(200):
        for i in range(len(places) - 1):
            if (lack := gap - (places[i + 1] - places[i])) > 0.0:
                places[i] -= 0.5 * lack
                places[i + 1] += 0.5 * lack
    for name, place in zip(order, places, strict=True):
        axis.annotate(
            names[name], (1.0, math.exp(place)), xycoords=("axes fraction", "data"), xytext=(5, 0), va="center",
            textcoords="offset points", fontsize=8, color=look[name].colour, annotation_clip=False,
        )  # fmt: skip


def _loudest(cells: Cells) -> list[str]:
    """The contenders that get a colour: all, or the best at the largest budget."""
    names, metric, budget = contenders(cells), cells.metrics[0], budgets(cells)[-1]
    if len(names) <= LOUD:
        return names
    known = {name: found.value for name in names if (found := score(cells, metric, name, budget)) and found.value}
    return sorted(known, key=lambda name: known[name])[:LOUD]
