"""Print the plan of a run: every coefficient, before any network call. Needs neither a network nor torch."""

from __future__ import annotations

import argparse
from typing import Any


def run(args: argparse.Namespace) -> int:
    from torchdiff.planner import plan

    made = plan(args.sde, args.solver, prediction=args.prediction, **wish(args))
    print(made.to_json() if args.json else made)
    return 0


def wish(args: argparse.Namespace) -> dict[str, Any]:
    """The arguments that say how to get from noise to data, as `torchdiff.plan` and `torchdiff.sample` take them."""
    names = ("steps", "calls", "times", "sigmas", "grid", "t_min", "t_max", "final", "noise")
    return {name: getattr(args, name) for name in names}
