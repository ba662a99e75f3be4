"""The table of a bench, for a terminal: a line a contender, a column a budget, what perfect samples score on top."""

from __future__ import annotations

from collections.abc import Sequence

from torchdiff.bench.cells import Cells
from torchdiff.bench.summary import Score, budgets, choices, contenders, floor, score, told

WIDEST = 3  # left-out solvers that are told in full
MARKS = {"best": "*", "tie": "=", "": " "}


def table(cells: Cells, metric: str | None = None) -> str:
    """The cells as text: for each metric, or for one, value +- half of its 95 % interval.

    `*` is the best at a budget, told apart from all others there by the paired comparison; where it cannot be told from
    some, `=` marks it and them. No other place in the order is given: it would be told by chance. A row below says what
    the network calls cost.
    """
    metrics = cells.metrics if metric is None else (metric,)
    parts = [_head(cells), *(_scores(cells, name) for name in metrics)]
    parts += [part for part in (_exact(cells), _seconds(cells), _left_out(cells), _broken(cells)) if part]
    return "\n\n".join(parts)


def labels(cells: Cells) -> dict[str, str]:
    """What each contender is called: its solver, and its grid where there are several."""
    known = [tuple(name.rsplit(" | ", 1)) for name in contenders(cells)]
    alone = len({grid for _, grid in known if grid != "its own"}) <= 1
    return {f"{s} | {g}": s.replace("Scheduler", "") if alone or g == "its own" else f"{s} on {g}" for s, g in known}


def title(cells: Cells) -> str:
    config = cells.header["config"]
    runs = len(config["seeds"])
    sets = f"{runs} x {config['count']} samples" if runs > 1 else f"{config['count']} samples"
    grids = {c["grid"] for c in cells if c["grid"] != "its own"}
    on = f", grid {next(iter(grids))}" if len(grids) == 1 else ""
    half = "" if (kind := config.get("dtype", "float32")) == "float32" else f" in {kind}"
    return f"{config['subject']} on {config['sde']}{on}{half}: {sets} a cell, the same noise for all"


def number(value: float) -> str:
    """Three digits, never an exponent below a million."""
    if value == 0.0 or not 1e-4 <= abs(value) < 1e6:
        return f"{value:.2e}" if value else "0"
    return f"{value:.{max(0, 2 - _magnitude(value))}f}"


def plus_minus(value: float, half: float) -> str:
    """value +- half, both to the second digit of half, at most to three of value."""
    if not 1e-4 <= abs(value) < 1e6:
        return f"{value:.2e} ±{half:.0e}"
    places = max(0, min(1 - _magnitude(half) if half > 0.0 else 4, max(2, 3 - _magnitude(value))))
    return f"{value:.{places}f} ±{half:.{places}f}"


def _magnitude(value: float) -> int:
    return int(f"{abs(value):e}".partition("e")[2])


def _head(cells: Cells) -> str:
    return title(cells)


def _scores(cells: Cells, metric: str) -> str:
    known = floor(cells, metric)
    rows = [[f"{metric}, by", *(f"{told(b)}  " for b in budgets(cells))]]
    if known is not None:
        rows.append(["real data (floor)", *[f"{number(known[0])}  "] * len(budgets(cells))])
    for name, label in labels(cells).items():
        rows.append([label, *(_cell(score(cells, metric, name, budget)) for budget in budgets(cells))])
    notes = ["* best, told apart from every other at 95 %; = best, or cannot be told from it"]
    if known is not None:
        count = cells.header["config"]["count"]
        notes.append(f"of {count} real samples 95 % score {number(known[1])} to {number(known[2])}")
    return aligned(rows, rule=1 + (known is not None)) + "\n" + "\n".join([*notes, *choices(cells)])


def _cell(found: Score | None) -> str:
    if found is None:
        return "-  "
    if found.value is None or found.high is None:
        return "failed  "
    return f"{plus_minus(found.value, found.high - found.value)} {MARKS[found.mark]}"


def _exact(cells: Cells) -> str:
    """Exact errors on Gaussian data, where there are any."""
    metric = cells.metrics[0]
    rows = [["exact W2 on Gaussian data, by", *(f"{told(b)}  " for b in budgets(cells))]]
    for name, label in labels(cells).items():
        found = [score(cells, metric, name, budget) for budget in budgets(cells)]
        if any(s is not None and s.exact is not None for s in found):
            rows.append([label, *(f"{number(s.exact)}  " if s and s.exact is not None else "-  " for s in found)])
    return aligned(rows, rule=1) + "\nof the same spectrum; nothing is sampled" if len(rows) > 1 else ""


def _seconds(cells: Cells) -> str:
    """What a run costs: seconds in all, and what of them was not the network's."""
    rows = [["seconds (update alone), by", *(f"{told(b)}  " for b in budgets(cells))]]
    for name, label in labels(cells).items():
        found = [score(cells, cells.metrics[0], name, budget) for budget in budgets(cells)]
        texts = [f"{number(s.seconds)} ({number(s.update)})  " if s else "-  " for s in found]
        odd = [s for s, budget in zip(found, budgets(cells), strict=True) if s and budget == f"calls={s.calls}"]
        texts = [
            t if s in odd or s is None else f"{t.rstrip()} in {s.calls}  " for t, s in zip(texts, found, strict=True)
        ]
        rows.append([label, *texts])
    where = cells.header["machine"]
    note = "in N: network calls that were made, where they are not the number above. "
    note += f"{where['cpu']}, {where['threads']} threads"
    return aligned(rows, rule=1) + "\n" + note


def _left_out(cells: Cells) -> str:
    left = cells.header["left_out"]
    if not left:
        return ""
    whole: dict[str, list[tuple[str, str]]] = {}
    for row in left:
        whole.setdefault(row["solver"], []).append((row["budget"], row["why"]))
    lines = []
    for solver, found in whole.items():
        where = ", ".join(dict.fromkeys(budget for budget, _ in found))
        everywhere = len({budget for budget, _ in found}) == len(budgets(cells))
        lines.append(
            f"  {solver}{'' if everywhere else f' at {where}'}: {_short(found[0][1].partition('; solvers for it')[0])}"
        )
    return "\n".join(["left out:", *lines])


def _broken(cells: Cells) -> str:
    lines = [f"  {c['key']}: {_short(c['problem'])}" for c in cells if c["problem"]]
    return "\n".join(["failed:", *lines]) if lines else ""


def _short(text: str, width: int = 150) -> str:
    return text if len(text) <= width else text[: width - 3] + "..."


def aligned(rows: Sequence[Sequence[str]], rule: int) -> str:
    """The first column to the left, the others to the right, a line after `rule` rows."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = []
    for row in rows:
        first, *rest = (cell.rjust(width) for cell, width in zip(row, widths, strict=True))
        lines.append("  ".join([row[0].ljust(len(first)), *rest]).rstrip())
    lines.insert(rule, "-" * max(map(len, lines)))
    return "\n".join(lines)
