"""What the solver "auto" takes, and the evidence: torchdiff/auto.json and docs/auto.md.

    python -m benchmarks.auto

Every way is measured on the tuning targets, and the one that is nearest to the best of each, as a geometric mean, is
taken; then it is measured on targets that had no part in the choice.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from pathlib import Path
from statistics import mean, stdev

from benchmarks.ways import (
    BLOCK_GRIDS,
    BLOCK_SOLVERS,
    CALLS,
    COUNT,
    FINE,
    GRIDS,
    LARGEST,
    SOLVERS,
    Found,
    measured,
)
from torchdiff import storage
from torchdiff.auto import OTHERS, Way
from torchdiff.bench.store import put
from torchdiff.registry import SDES

ROOT = Path(__file__).parents[1]
DATA, TABLE = ROOT / "torchdiff" / "auto.json", ROOT / "docs" / "auto.md"
PROCESSES = ("vp", "ddpm", "cosine", "sub_vp", "flow", "ve", "edm", "cld")
ANY_BLOCKS = ("cld_exp", "cld_exp:eta=1", "adams", "euler_maruyama")  # those for any process of blocks
TUNED = (
    *("moons", "rings", "swiss_roll", "checkerboard"),
    *("gmm:dim=8,seed=2", "gmm:dim=64,seed=1", "gmm:dim=32,modes=40,spread=0.1,seed=3", "gmm:dim=128,modes=5,seed=4"),
)
HELD = ("gmm2d", "gmm")
USUAL = ("dpmpp_2m | log_snr", "dpmpp_2m | uniform", "sscs | uniform")  # the first one that the process has
OTHER = (
    "One block: the way that is least behind on all of the processes above together, on a fixed grid, for the times of "
    "an optimal one are not kept where a process is code of yours. More blocks: the best on `cld` of those solvers "
    "that run on any of them."
)
Scores = dict[str, list[float]]  # "solver | grid" -> a number for each tuning target
HEAD = """# What `solver="auto"` takes

Written by `python -m benchmarks.auto`, together with `torchdiff/auto.json`, which is what is looked up: for a process,
the row with the most network calls that are not more than asked for. One step is one call in all of them. "With your
grid" is the solver where you give `grid`, `times` or `sigmas`: the best one over all fixed grids.

The choice is made on {tuned}. "Behind" is by what
factor the way taken is behind the best way of each of these targets, as a geometric mean. Where the least behind is not
ahead of the best one on an `optimal` grid by one standard error of their difference over the targets, that one is
taken: its times are computed for the process at hand and its ends. Then it is measured on targets that had no part in
the choice, where the best way of all, after the fact, stands beside it. Beside other libraries, on these and on a real
network: docs/benchmarks.md.

One block: the mean distance between the end of a run and that of {fine} steps of dpmpp_3m from the same noise, in
percent of the data's size ({count} samples, float64). Tried: {solvers}; each on {grids} (`optimal` to {largest} calls).
`cld`: the energy distance to {many} samples of the data, in percent, not below what as many other samples score. Tried:
{block_solvers}; each on {block_grids}.
"""


def behind(found: dict[str, dict[str, float]]) -> Scores:
    """The logarithm of the factor by which each way is behind the best one, on each tuning target."""
    best = {spec: min(numbers[spec] for numbers in found.values()) for spec in TUNED}
    return {
        way: [math.log(numbers[spec] / best[spec]) for spec in TUNED]
        for way, numbers in found.items()
        if all(math.isfinite(numbers[spec]) for spec in TUNED)
    }


def chosen(scores: dict[int, Scores], solvers: Iterable[str] | None = None) -> list[Way]:
    """A row for each number of calls, from the scores of the ways; only these solvers."""
    rows = []
    for calls, ways in scores.items():
        mine = {way: score for way, score in ways.items() if solvers is None or way.split(" | ")[0] in solvers}
        solver, grid = _best(mine).split(" | ")
        fixed: dict[str, list[float]] = {}
        for way, score in mine.items():
            if not way.endswith("| optimal"):
                fixed.setdefault(way.split(" | ")[0], []).append(mean(score))
        most = max(map(len, fixed.values()))  # those that run on every grid
        anywhere = min((s for s in fixed if len(fixed[s]) == most), key=lambda s: sum(fixed[s]))
        rows.append(Way(calls, solver, grid, anywhere))
    return rows


def _best(scores: Scores) -> str:
    """The way that is least behind; one on an optimal grid where the targets cannot tell the two apart."""
    first = min(scores, key=lambda way: mean(scores[way]))
    computed = [way for way in scores if way.endswith("| optimal")]
    if not computed:
        return first
    second = min(computed, key=lambda way: mean(scores[way]))
    apart = [a - b for a, b in zip(scores[second], scores[first], strict=True)]
    return second if mean(apart) <= stdev(apart) / math.sqrt(len(apart)) else first


def table(found: Found, rows: list[Way]) -> list[str]:
    held = [f"{spec}: taken | best | its way" for spec in HELD]
    lines = [
        "| calls | solver | grid | behind | " + " | ".join(held) + " | with your grid |",
        "|" + "---|" * (5 + 3 * len(HELD)),
    ]
    for row in rows:
        here, way = found[row.calls], f"{row.solver} | {row.grid}"
        cells = [str(row.calls), row.solver, row.grid, f"{math.exp(mean(behind(here)[way])):.2f}"]
        for spec in HELD:
            best = min(here, key=lambda other: here[other][spec])
            mine, least = 100.0 * here[way][spec], 100.0 * here[best][spec]
            cells += [f"{mine:.3g}", f"{least:.3g}", "the same" if best == way else best.replace(" | ", " on ")]
        lines.append("| " + " | ".join([*cells, row.anywhere]) + " |")
    return lines


def summary(found: Found, rows: list[Way]) -> str:
    """How far the ways taken, and what is usual, are behind on the targets that had no part in the choice."""
    usual = next(way for way in USUAL if all(way in here for here in found.values()))
    far = dict.fromkeys(("taken", "usual"), 0.0)
    for row in rows:
        here, taken = found[row.calls], f"{row.solver} | {row.grid}"
        for spec in HELD:
            best = min(numbers[spec] for numbers in here.values())
            for name, way in (("taken", taken), ("usual", usual)):
                far[name] += math.log(here[way][spec] / best) / len(HELD) / len(rows)
    return (
        f"On {' and '.join(f'`{spec}`' for spec in HELD)} the ways taken are behind the best ones by a factor of "
        f"{math.exp(far['taken']):.2f}, as a geometric mean over the rows; {usual.replace(' | ', ' on ')} by "
        f"{math.exp(far['usual']):.2f}."
    )


def main() -> None:
    found = {name: measured(name, (*TUNED, *HELD)) for name in PROCESSES}
    scores = {name: {calls: behind(ways) for calls, ways in one.items()} for name, one in found.items()}
    known = {name: chosen(one) for name, one in scores.items()}
    scalar = [name for name in PROCESSES if SDES.get(name).blocks == 1]
    shared: dict[int, Scores] = {}
    for calls in CALLS:
        ways = {w for w in set.intersection(*(set(scores[name][calls]) for name in scalar)) if "optimal" not in w}
        shared[calls] = {way: [value for name in scalar for value in scores[name][calls][way]] for way in sorted(ways)}
    others = {OTHERS[0]: chosen(shared), OTHERS[1]: chosen(scores["cld"], ANY_BLOCKS)}
    words = {
        "tuned": TUNED, "solvers": SOLVERS, "grids": GRIDS, "block_solvers": BLOCK_SOLVERS, "block_grids": BLOCK_GRIDS
    }  # fmt: skip
    numbers = {"fine": FINE, "count": COUNT, "many": 4 * COUNT, "largest": LARGEST}
    lines = [HEAD.format(**numbers, **{name: listed(specs) for name, specs in words.items()})]
    for name, rows in known.items():
        lines += [f"## {name}", "", *table(found[name], rows), "", summary(found[name], rows), ""]
    lines += ["## Processes that were not measured", "", OTHER, ""]
    lines += ["| calls | one block | with your grid | more blocks | with your grid |", "|" + "---|" * 5]
    for one, more in zip(*others.values(), strict=True):
        ways = [cell for row in (one, more) for cell in (f"{row.solver} on {row.grid}", row.anywhere)]
        cells = [str(one.calls), *ways]
        lines.append(f"| {' | '.join(cells)} |")
    text = "\n".join(lines) + "\n"
    storage.write(TABLE, lambda file: put(file, text))
    body = ",\n".join(
        f'"{name}": [\n' + ",\n".join(f" {json.dumps(row)}" for row in rows) + "\n]"
        for name, rows in {**known, **others}.items()
    )
    storage.write(DATA, lambda file: put(file, "{\n" + body + "\n}\n"))
    print(DATA, TABLE)


def listed(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


if __name__ == "__main__":
    main()
