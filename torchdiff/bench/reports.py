"""One page that a person would show to colleagues: the answer, the pictures, the table, and how to get it again."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from torchdiff import storage
from torchdiff.bench import colours
from torchdiff.bench.advice import answer, floor_said
from torchdiff.bench.cells import Cells
from torchdiff.bench.plots import pictures
from torchdiff.bench.store import put
from torchdiff.bench.style import STYLE
from torchdiff.bench.summary import budgets, choices, contenders, floor, score, told
from torchdiff.bench.tables import labels, number, plus_minus, title

MANY = 6  # columns that fit on paper in letters of 8 points
INKS = {colours.INK: "ink", colours.SOFT: "soft", colours.RULE: "rule", colours.PAPER: "paper"}
WORK = (
    "Left and lower is better. Bands and bars are 95 % intervals; the grey band is where perfect samples score. Dashed "
    "lines with hollow marks are other libraries."
)


def report(cells: Cells, out: str | Path, drawn: Mapping[str, bytes] | None = None) -> Path:
    """Write the page: one file that loads nothing from anywhere, in light and dark, fit for printing.

    drawn: what `pictures` made of these cells before.
    Raises DependencyError without matplotlib, StorageError where it cannot be written.
    """
    path = storage.reserve(out, (".html",))
    text = page(cells, drawn or pictures(cells))
    storage.write(path, lambda file: put(file, text))
    return path


def page(cells: Cells, drawn: Mapping[str, bytes]) -> str:
    """The HTML, with these pictures."""
    said = answer(cells)
    metric, subject = cells.metrics[0], cells.header["config"]["subject"]
    parts = [
        f"<h1>Steps against quality: {escape(subject)}</h1>",
        f'<p class="lead">{escape(title(cells))}</p>',
        f'<div class="answer"><p>{escape(said.headline)}</p></div>',
        _brief(said.rows, metric),
        "<h2>Work and precision</h2>",
        f"<figure>{_svg(drawn['work.svg'], 'work')}<figcaption>{WORK}</figcaption></figure>",
        *(_scores(cells, name) for name in cells.metrics),
        _samples(cells, drawn),
        _exact(cells),
        _seconds(cells),
        _told(cells),
        _setting(cells),
    ]
    body = "\n".join(part for part in parts if part)
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>Steps against quality: {escape(subject)}</title>\n<style>{STYLE}</style></head>\n"
        f"<body><main>\n{body}\n</main></body></html>\n"
    )


def _svg(raw: bytes, mark: str) -> str:
    """A picture as part of the page: its inks are the page's, light or dark; its ids are its own."""
    text = raw.decode()
    text = text[text.index("<svg") :]
    text = re.sub(
        r'<svg [^>]*viewBox="([^"]*)"[^>]*>',
        r'<svg viewBox="\1" role="img" xmlns:xlink="http://www.w3.org/1999/xlink">',
        text,
        count=1,
    )
    text = re.sub(r"<metadata>.*?</metadata>\s*", "", text, flags=re.DOTALL)
    text = re.sub(r'(\bid="|url\(#|href="#)', rf"\g<1>{mark}-", text)
    for colour, name in INKS.items():
        text = text.replace(colour, f"var(--{name})")
    return text


def _brief(rows: Any, metric: str) -> str:
    if not rows:
        return ""
    lines = "".join(
        f"<tr><td>{escape(b)}</td><td>{escape(who)}</td><td>{escape(what)}</td></tr>" for b, who, what in rows
    )
    head = f"<tr><th>with</th><th>best, or not told apart from it</th><th>{escape(metric)}</th></tr>"
    return f'<div class="wide"><table class="brief"><thead>{head}</thead>{lines}</table></div>'


def _scores(cells: Cells, metric: str) -> str:
    heads = "".join(f"<th>{escape(told(b))}</th>" for b in budgets(cells))
    known = floor(cells, metric)
    lines = []
    if known is not None:
        cell = f"<td>{number(known[0])} <small>({number(known[1])} to {number(known[2])})</small></td>"
        lines.append(f'<tr class="floor"><td>real data: the floor</td>{cell * len(budgets(cells))}</tr>')
    for name, label in labels(cells).items():
        boxes = []
        for budget in budgets(cells):
            found = score(cells, metric, name, budget)
            if found is None or found.value is None or found.high is None:
                boxes.append(f"<td>{'failed' if found else '–'}</td>")
                continue
            text = plus_minus(found.value, found.high - found.value)
            value, _, half = text.partition(" ")
            boxes.append(f'<td class="score {found.mark}">{value} <small>{half}</small></td>')
        lines.append(f"<tr><td>{escape(label)}</td>{''.join(boxes)}</tr>")
    note = "* on green: told apart from every other at 95 % by the paired comparison. "
    note += " ".join(
        ["= on grey: the best, and what cannot be told from it.", *(f"{line}." for line in choices(cells))]
    )
    return (
        f"<h2>{escape(metric)}</h2>\n<p>{escape(floor_said(cells, metric))}</p>\n"
        f'{_table(cells, heads, lines)}\n<p class="note">{escape(note)}</p>'
    )


def _samples(cells: Cells, drawn: Mapping[str, bytes]) -> str:
    if "samples.svg" not in drawn:
        return ""
    flat = next(iter(cells.samples.values())).dim() == 2
    what = "Blue: samples. Grey: real data." if flat else "Each column of images starts from the same noise."
    return f"<h2>Samples</h2><figure>{_svg(drawn['samples.svg'], 'samples')}<figcaption>{what}</figcaption></figure>"


def _plain(cells: Cells, head: str, note: str, text: Any) -> str:
    heads = "".join(f"<th>{escape(told(b))}</th>" for b in budgets(cells))
    lines = []
    for name, label in labels(cells).items():
        found = [score(cells, cells.metrics[0], name, budget) for budget in budgets(cells)]
        boxes = [text(s) if s is not None else None for s in found]
        if any(boxes):
            row = "".join(f"<td>{box or '-'}</td>" for box in boxes)
            lines.append(f"<tr><td>{escape(label)}</td>{row}</tr>")
    if not lines:
        return ""
    return f'<h2>{escape(head)}</h2>\n{_table(cells, heads, lines)}\n<p class="note">{escape(note)}</p>'


def _table(cells: Cells, heads: str, lines: Sequence[str]) -> str:
    """A line a contender, a column a budget; many of them are small on paper."""
    kind = "wide many" if len(budgets(cells)) > MANY else "wide"
    head = f"<thead><tr><th></th>{heads}</tr></thead>"
    return f'<div class="{kind}"><table class="scores">{head}<tbody>{"".join(lines)}</tbody></table></div>'


def _exact(cells: Cells) -> str:
    note = "The sampler's own Wasserstein-2 error on Gaussian data with the spectrum of the data. Nothing is sampled."
    return _plain(cells, "Exact error", note, lambda s: number(s.exact) if s.exact is not None else None)


def _seconds(cells: Cells) -> str:
    def text(found: Any) -> str:
        return f"{number(found.seconds)} <small>({found.calls} calls, update {number(found.update)})</small>"

    note = "Median over seeds of a run of all samples; update is what of it was not spent inside the network."
    return _plain(cells, "Seconds", note, text)


def _told(cells: Cells) -> str:
    left = {(row["solver"], row["why"]): row["budget"] for row in cells.header["left_out"]}
    broken = [(c["key"], c["problem"]) for c in cells if c["problem"]]
    if not left and not broken:
        return ""
    lines = [
        f"<dt>{escape(solver)}, {escape(told(budget))}</dt><dd>{escape(why)}</dd>"
        for (solver, why), budget in left.items()
    ]
    lines += [f"<dt>{escape(key)}</dt><dd>{escape(why)}</dd>" for key, why in broken]
    return f"<h2>Left out, and failed</h2><dl>{''.join(lines)}</dl>"


def _setting(cells: Cells) -> str:
    header = cells.header
    facts = {"began": header["timing"]["began"], "seeds": ", ".join(map(str, header["config"]["seeds"]))}
    facts |= {**header["machine"], **header["versions"]}
    lines = "".join(f"<dt>{escape(str(k))}</dt><dd>{escape(str(v))}</dd>" for k, v in facts.items())
    made = f"{len(cells)} cells of {len(contenders(cells))} contenders; network calls are counted around the network."
    return (
        f'<h2>How to get it again</h2>\n<pre>{escape(header["command"])}</pre>\n<p class="note">{made} '
        f"The same command gives the same numbers but for the seconds.</p>\n<dl>{lines}</dl>"
    )
