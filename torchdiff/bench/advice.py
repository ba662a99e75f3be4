"""What a bench comes to, in sentences: the answer first, and only as far as the comparisons hold."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from torchdiff.bench.cells import Cells
from torchdiff.bench.summary import Score, budgets, contenders, floor, score, told
from torchdiff.bench.tables import labels, number, plus_minus


class Answer(NamedTuple):
    """headline: one sentence or two. rows: (budget, who is best or cannot be told from the best, what they score)."""

    headline: str
    rows: tuple[tuple[str, str, str], ...]


class Lead(NamedTuple):
    """A budget, its best and who cannot be told from that, by value, and what the best scores."""

    budget: str
    names: list[str]
    best: Score


def answer(cells: Cells, metric: str | None = None) -> Answer:
    """The answer by one metric, the first by default.

    The best measured is held against the best at each budget of fewer network calls, by the paired comparison; of those
    that it is not told apart from, the one with the fewest calls is named, with what it may cost. Where there is none,
    it is the best measured.
    """
    metric = metric or cells.metrics[0]
    known = floor(cells, metric)
    leads = [lead for budget in budgets(cells) if (lead := _lead(cells, metric, budget))]
    if known is None or not leads:
        return Answer("No run was sound, so nothing can be said; the reasons stand below.", ())
    top = min(leads, key=lambda lead: lead.best.value or 0.0)
    fewer = [lead for lead in leads if lead.best.calls < top.best.calls]
    held = {lead.budget: found for lead in fewer if (found := _held(cells, metric, top, lead))}
    ties = [lead for lead in fewer if lead.budget in held and held[lead.budget]["tie"]]
    taken = min(ties, key=lambda lead: (lead.best.calls, lead.best.value or 0.0)) if ties else top
    what = f"Take {_first(cells, taken)} with {told(taken.budget)}{_calls(cells, taken)}"
    what += ", the best measured" if taken is top else ""
    what += f": it scores {_score(taken.best)}, {_beside(cells, taken.best, known)}."
    if taken is not top:
        lost, most = (number(max(0.0, -held[taken.budget][word])) for word in ("difference", "low"))
        what += f" The best measured, {_first(cells, top)} with {told(top.budget)}{_calls(cells, top)}, "
        what += f"scores {lost} less, at most {most}{'' if taken.best.at_floor else ': the two are not told apart'}."
    elif fewer and len(held) == len(fewer):
        what += " With fewer calls even the best is told apart from it."
    if others := taken.names[1:]:
        what += f" Not told apart from it with {told(taken.budget)}: {_names(cells, others[:4], 'and')}"
        what += f"{', and others' * (len(others) > 4)}."
    rows = tuple((told(lead.budget), _names(cells, lead.names), _score(lead.best)) for lead in leads)
    return Answer(what, rows)


def _first(cells: Cells, lead: Lead) -> str:
    """The best of a budget, and what it took if it chooses."""
    return _names(cells, lead.names[:1]) + (f" ({lead.best.chose})" if lead.best.chose else "")


def _lead(cells: Cells, metric: str, budget: str) -> Lead | None:
    """Who leads at a budget; None where no run was sound."""
    found = {n: s for n in contenders(cells) if (s := score(cells, metric, n, budget)) and s.value is not None}
    if not found:
        return None
    order = sorted(found, key=lambda n: found[n].value or 0.0)
    names = [n for n in order if found[n].mark] or order[:1]
    return Lead(budget, names, found[names[0]])


def _held(cells: Cells, metric: str, top: Lead, lead: Lead) -> dict | None:
    """The comparison of the two, if it was made between these very contenders."""
    wanted = (metric, top.budget, top.names[0], lead.budget, lead.names[0])
    fields = ("metric", "budget", "best", "cheaper", "other")
    return next((v for v in cells.across if tuple(v[name] for name in fields) == wanted), None)


def _beside(cells: Cells, best: Score, known: tuple[float, float, float]) -> str:
    """How a score stands to that of real samples."""
    count, band = cells.header["config"]["count"], f"{number(known[1])} to {number(known[2])}"
    if best.at_floor:
        return f"and as many real samples {band}: as good as {count} samples can show"
    times = (best.value or 0.0) / known[0] if known[0] > 0.0 else 0.0
    return f"{number(times)} times what as many real samples score ({band})" if times > 1.0 else f"real samples {band}"


def _calls(cells: Cells, lead: Lead) -> str:
    """What steps cost."""
    return "" if cells.header["config"]["way"] == "calls" else f" ({told(f'calls={lead.best.calls}')})"


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
