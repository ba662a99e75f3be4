"""The benches of docs/benchmarks.md: which solver with how many calls, ours beside diffusers' and azula's.

    python benchmarks/quality.py [--quick]

Each bench is kept in out/quality/NAME: what is finished is not made again. Nothing here is chosen after a look at the
numbers: the rivals are each library's multistep methods in the options that it recommends.
"""

from __future__ import annotations

import sys
from pathlib import Path

from torchdiff import bench, storage
from torchdiff.bench.advice import answer
from torchdiff.bench.cells import Cells
from torchdiff.bench.entrants import contender
from torchdiff.bench.store import put
from torchdiff.bench.summary import budgets, contenders, score, told
from torchdiff.bench.tables import labels, number
from torchdiff.errors import DependencyError

ROOT = Path(__file__).parents[1]
OURS = "ddim,dpmpp_2m,dpmpp_3m,unipc,deis,heun,seeds_2,dpmpp_2m_sde"
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
    "gmm2d": {"target": "gmm2d"},
    "gmm": {"target": "gmm:dim=16"},
    "moons": {"target": "moons"},
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


def behind(cells: Cells) -> list[str]:
    """Where none of ours is the best or cannot be told from it, by budget."""
    lost, metric = [], cells.metrics[0]
    for budget in budgets(cells):
        found = {n: s for n in contenders(cells) if (s := score(cells, metric, n, budget)) and s.value is not None}
        leads = [name for name, s in found.items() if s.mark]
        if leads and all(name.startswith(("diffusers:", "azula:")) for name in leads):
            ours = min((n for n in found if n not in leads), key=lambda n: found[n].value or 0.0)
            best = min(leads, key=lambda n: found[n].value or 0.0)
            lost.append(
                f"{told(budget)}: {labels(cells)[best]} {number(found[best].value or 0.0)}, ours "
                f"{labels(cells)[ours]} {number(found[ours].value or 0.0)}"
            )
    return lost


def part(name: str, cells: Cells) -> str:
    lost = behind(cells)
    where = "; ".join(lost) if lost else "nowhere in this run"
    return (
        f"## {name}\n\n{answer(cells).headline}\n\nWhere the other libraries are ahead: {where}.\n\n"
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
            **words, **small, solvers=[*OURS.split(","), *others], calls=CALLS, progress=True,
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
