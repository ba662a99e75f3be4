"""Measure the laws that built-in SDEs and solvers pass, on any: a name, or package.module:attribute.

Runs in a process of its own, which is killed at the timeout. Exit code 1 where a law fails.
"""

from __future__ import annotations

import argparse
import json


def run(args: argparse.Namespace) -> int:
    from torchdiff.testing.apart import check_apart
    from torchdiff.testing.target import kind_of

    kind_of(args.target, args.kind)  # what names nothing is a wrong request, not a law that fails
    report = check_apart(args.target, args.kind, tuple(args.on), args.timeout)
    print(json.dumps(report.facts(), indent=1) if args.json else report)
    return 0 if report.ok else 1
