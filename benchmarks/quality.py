"""The benches of docs/benchmarks.md: which solver with how many calls, ours beside diffusers' and azula's.

    python benchmarks/quality.py [--quick]

Each bench is kept in out/quality/NAME: what is finished is not made again. Nothing here is chosen after a look at the
numbers: the rivals are each library's multistep methods in the options that it recommends.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import NamedTuple

from torchdiff import bench, storage
from torchdiff.bench.advice import answer
from torchdiff.bench.cells import Cells
from torchdiff.bench.entrants import contender
from torchdiff.bench.specs import theirs
from torchdiff.bench.store import put
from torchdiff.bench.summary import budgets, contenders, score, told
from torchdiff.bench.tables import labels, number
from torchdiff.errors import DependencyError

ROOT = Path(__file__).parents[1]
OURS = "auto,ddim,dpmpp_2m,unipc,deis,heun,seeds_2,dpmpp_2m_sde"
GRIDS = "default,optimal"
PEERS = (
    "diffusers:DDIMScheduler:timestep_spacing=trailing",
    "diffusers:DPMSolverMultistepScheduler",
    "diffusers:DPMSolverMultistepScheduler:use_karras_sigmas=true",
    "diffusers:UniPCMultistepScheduler",
    "diffusers:DEISMultistepScheduler",
    "azula:DDIMSampler",
    "azula:xEABSampler:order=2",
)
BENCHES = {
    "gmm2d": {"target": "gmm2d", "metrics": "energy"},
    "gmm": {"target": "gmm:dim=16", "metrics": "energy"},
    "moons": {"target": "moons", "metrics": "energy"},
    "digits": {"preset": "digits"},
}
CALLS = (5, 8, 10, 20)


def rivals() -> list[str]:
    """Those of the other libraries that are installed here."""
    found = []
    for spec in PEERS:
        try:
            contender(spec)
        except DependencyError as error:
            print(f"left out: {spec}: {error}", file=sys.stderr)
        else:
            found.append(spec)
    return found


class Sides(NamedTuple):
    """By budget, where one of ours is told apart from all of theirs, where one of theirs is from all of ours, and where
    one of theirs scores least, told apart or not."""

    ahead: list[str]
    behind: list[str]
    least: list[str]


def sides(cells: Cells) -> Sides:
    ahead, behind, least, metric = [], [], [], cells.metrics[0]
    for budget in budgets(cells):
        found = {n: s for n in contenders(cells) if (s := score(cells, metric, n, budget)) and s.value is not None}
        others = {name for name in found if theirs(name)}
        if not others or len(others) == len(found):
            continue
        leads = {name for name, s in found.items() if s.mark}
        # of equal ones the first as asked for, whatever the order of a set
        halves = [name for name in found if name not in others], [name for name in found if name in others]
        best = [min(half, key=lambda n: found[n].value or 0.0) for half in halves]
        ours, other = (f"{labels(cells)[name]} {number(found[name].value or 0.0)}" for name in best)
        if leads and not leads & others:
            ahead.append(f"{told(budget)}: {ours}, theirs at best {other}")
        elif leads and leads <= others:
            behind.append(f"{told(budget)}: {other}, ours at best {ours}")
        if (found[best[1]].value or 0.0) < (found[best[0]].value or 0.0):
            least.append(f"{told(budget)}: {other}, ours at best {ours}")
    return Sides(ahead, behind, least)


def part(name: str, cells: Cells) -> str:
    ahead, behind, least = ("; ".join(side) if side else "nowhere in this run" for side in sides(cells))
    return (
        f"## {name}\n\n{answer(cells).headline}\n\nOurs told apart from all of theirs: {ahead}.\n\n"
        f"Theirs told apart from all of ours: {behind}.\n\nTheirs with the least score, told apart or not: {least}.\n\n"
        f"    {cells.header['command']}\n\n```\n{bench.table(cells)}\n```\n"
    )


def main() -> None:
    small = {"seeds": (0,), "count": 300} if "--quick" in sys.argv else {"seeds": (0, 1), "count": 1000}
    parts = [
        "# Steps against quality\n\n"
        "Written by `python benchmarks/quality.py` (`make quality`). Every number stands beside "
        "what as many real samples score; `*` is the best at a budget, told apart from all others by the paired "
        "comparison at 95 %, `=` the best and whatever cannot be told from it.\n"
    ]
    others = rivals()
    for name, words in BENCHES.items():
        cells = bench.run(
            **words, **small, solvers=[*OURS.split(","), *others], grids=GRIDS, calls=CALLS, progress=True,
            out=ROOT / "out" / "quality" / name,
        )  # fmt: skip
        drawn = bench.pictures(cells)
        bench.report(cells, ROOT / "out" / "quality" / name / "report.html", drawn)
        bench.plot(cells, ROOT / "out" / "quality" / name, drawn)
        parts.append(part(name, cells))
    facts = cells.header
    parts.append(
        "## Machine\n\n" + "\n".join(f"- {k}: {v}" for k, v in {**facts["machine"], **facts["versions"]}.items())
    )
    text = "\n".join(parts) + "\n"
    place = ROOT / "docs" / "benchmarks.md"
    storage.write(place, lambda file: put(file, text))
    print(place)


if __name__ == "__main__":
    main()
