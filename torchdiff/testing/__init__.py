"""The laws that the built-in SDEs and solvers pass, for yours.

    from torchdiff.testing import check_sde, check_solver

    def test_my_solver(): assert check_solver(MySolver())

Needs neither pytest nor hypothesis. `torchdiff check package.module:MySolver` prints the same report.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torchdiff.testing.report import Finding, Report
    from torchdiff.testing.sdes import check_sde
    from torchdiff.testing.solvers import check_solver

# imported on first use: what is to be checked is loaded first, so that an import that fails or hangs shows at once
_HOME = {"check_sde": "sdes", "check_solver": "solvers", "Finding": "report", "Report": "report"}


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(importlib.import_module(f"torchdiff.testing.{_HOME[name]}"), name)
    raise AttributeError(f"module 'torchdiff.testing' has no attribute {name!r}")


__all__ = ["Finding", "Report", "check_sde", "check_solver"]
