"""Tell what is installed, which backend runs and why. Exit code 1 if something is wrong."""

from __future__ import annotations

import argparse
import json


def run(args: argparse.Namespace) -> int:
    from torchdiff.doctor import examine

    checks = examine()
    wrong = [check for check in checks if check.status == "wrong"]
    if args.json:
        print(json.dumps({"healthy": not wrong, "checks": [check._asdict() for check in checks]}, indent=1))
    else:
        width = max(len(check.name) for check in checks)
        for check in checks:
            print(f"{check.status:<5}  {check.name:<{width}}  {check.value}")
            if check.fix:
                print(f"{'':<{width + 9}}-> {check.fix}")
        print(f"{len(wrong)} of {len(checks)} checks are wrong" if wrong else "all is well")
    return 1 if wrong else 0
