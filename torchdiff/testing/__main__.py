"""The process in which `torchdiff check` runs a check: a line of JSON into a file for each thing that happens.

    python -m torchdiff.testing FILE TARGET KIND [SDE ...]

["begin", law], ["finding", ...], and at last ["end", kind, subject]. What dies or hangs leaves no end.
"""

from __future__ import annotations

import json
import sys
from typing import Any


def main(file: str, target: str, kind: str, *sdes: str) -> None:
    """Check a target and write what happens into the file."""
    with open(file, "a", encoding="utf-8", buffering=1) as out:

        def tell(*event: Any) -> None:
            out.write(json.dumps(event) + "\n")

        tell("begin", IMPORT)
        from torchdiff.errors import TorchdiffError
        from torchdiff.sde.base import LinearSDE
        from torchdiff.testing.report import FAILED, Finding
        from torchdiff.testing.target import load

        try:
            thing = load(target, kind or None)
        except TorchdiffError as error:
            failed = Finding(IMPORT, target, type(error).__name__, "a class or an object", FAILED, str(error))
            tell("finding", *failed)
            tell("end", kind or "plugin", target)
            return
        tell("begin", "the laws are loaded")
        from torchdiff.testing import check_sde, check_solver

        def see(law: str, finding: Finding | None) -> None:
            tell("begin", law) if finding is None else tell("finding", *finding)

        report = (
            check_sde(thing, see=see) if isinstance(thing, LinearSDE) else check_solver(thing, sdes or None, see=see)
        )
        tell("end", report.kind, report.subject)


IMPORT = "it loads and is built"

if __name__ == "__main__":
    main(*sys.argv[1:])
