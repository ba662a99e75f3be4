"""What a bench comes to, in sentences: the answer first, and only as far as the comparisons hold."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from torchdiff.bench.cells import Cells
from torchdiff.bench.summary import Score, budgets, contenders, floor, score, told
from torchdiff.bench.tables import labels, number, plus_minus


class Answer(NamedTuple):
    """headline: one sentence. rows: (budget, who is best or cannot be told from the best, what they score)."""

    headline: str
    rows: tuple[tuple[str, str, str], ...]


def answer(cells: Cells, metric: str | None = None) -> Answer:
    """The answer by one metric, the first by default."""
    metric = metric or cells.metrics[0]
    known, rows = floor(cells, metric), []
    done: list[tuple[str, list[str], Score]] = []
    for budget in budgets(cells):
        found = {n: s for n in contenders(cells) if (s := score(cells, metric, n, budget)) and s.value is not None}
        if not found:
            continue
        first = min(found, key=lambda n: found[n].value or 0.0)
        leads = [n for n, s in found.items() if s.mark] or [first]
        leads.sort(key=lambda n: found[n].value or 0.0)
        best = found[leads[0]]
        done.append((budget, leads, best))
        rows.append((told(budget), _names(cells, leads), _score(best)))
    if known is None or not done:
        return Answer("No run was sound, so nothing can be said; the reasons stand below.", ())
    reached = [row for row in done if row[2].at_floor]
    budget, leads, best = reached[0] if reached else done[-1]
    first, *others = leads
    if reached:
        what = f"Take {_names(cells, [first])} with {told(budget)}: it scores {_score(best)}, and as many real samples "
        what += f"{number(known[1])} to {number(known[2])}; more calls cannot be seen to buy anything."
    else:
        times = (best.value or 0.0) / known[0] if known[0] > 0.0 else 0.0
        what = f"Take {_names(cells, [first])} with {told(budget)}, the best measured: it scores {_score(best)}"
        what += f", {number(times)} times what as many real samples score." if times > 1.0 else "."
    if others:
        what += f" Not told apart from it: {_names(cells, others[:4], 'and')}{', and others' * (len(others) > 4)}."
    return Answer(what, tuple(rows))


def floor_said(cells: Cells, metric: str) -> str:
    """What the floor is, in one sentence."""
    known = floor(cells, metric)
    if known is None:
        return ""
    count = cells.header["config"]["count"]
    return (
        f"{count} samples of the real data score {number(known[0])} ({number(known[1])} to {number(known[2])}), not 0, "
        f"for {count} are few: what lies in this band is as good as {count} samples can show."
    )


def _names(cells: Cells, leads: Sequence[str], word: str = "or") -> str:
    known = [labels(cells)[name] for name in leads]
    return known[0] if len(known) == 1 else f"{', '.join(known[:-1])} {word} {known[-1]}"


def _score(best: Score) -> str:
    assert best.value is not None
    assert best.high is not None
    return plus_minus(best.value, best.high - best.value)
