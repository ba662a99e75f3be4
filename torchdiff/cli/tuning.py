"""Find the solver, the grid and the number of steps for a process, by exact errors. Nothing is sampled."""

from __future__ import annotations

import argparse
import sys

from torchdiff.errors import OptionError


def run(args: argparse.Namespace) -> int:
    from torchdiff.storage import reserve
    from torchdiff.tune import export, recommend, sigmas_of
    from torchdiff.tune.exporting import SUFFIXES
    from torchdiff.tune.front import SOLVERS_TRIED

    if args.numbers is not None and args.export is None:
        raise OptionError("--as says what --export writes; give --export FILE too")
    if args.export is not None:
        reserve(args.export, SUFFIXES)  # refused, if it must be, before the work
        if args.numbers == "sigmas":
            sigmas_of(args.sde, ())
    found = recommend(
        args.sde, solvers=args.solvers or SOLVERS_TRIED, grids=args.grids, calls=args.calls, spectrum=args.spectrum,
        quality=args.quality, budget=args.budget, t_max=args.t_max, t_min=args.t_min, final=args.final,
        progress=sys.stderr.isatty(),
    )  # fmt: skip
    print(found.to_json() if args.json else found)
    if args.export is not None:
        times = found.best.times
        path = export(args.export, sigmas_of(args.sde, times) if args.numbers == "sigmas" else times)
        if not args.json:
            print(f"its {args.numbers or 'times'} -> {path}")
    return 0
