"""Print the exact error of a solver on Gaussian data against its steps. Nothing is sampled; no network is needed."""

from __future__ import annotations

import argparse

STEPS = (5, 10, 20, 50)


def run(args: argparse.Namespace) -> int:
    from torchdiff.analysis import analyze

    steps = args.steps if args.steps or args.calls else STEPS
    found = analyze(
        args.sde, args.solver, steps=steps, calls=args.calls, grid=args.grid, spectrum=args.spectrum,
        t_max=args.t_max, t_min=args.t_min, final=args.final,
    )  # fmt: skip
    print(found.to_json() if args.json else found)
    return 0
