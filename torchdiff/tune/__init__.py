"""Which solver, which grid, how many steps: by calculation, before any network call."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torchdiff.tune.exporting import export, optimal_times, sigmas_of
    from torchdiff.tune.front import Candidate, Tuned, recommend

# imported on first use: the planner asks for the search, which stands below it, and the front is above
_HOME = {
    **dict.fromkeys(("export", "optimal_times", "sigmas_of"), "torchdiff.tune.exporting"),
    **dict.fromkeys(("Candidate", "Tuned", "recommend"), "torchdiff.tune.front"),
}

__all__ = ["Candidate", "Tuned", "export", "optimal_times", "recommend", "sigmas_of"]


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(importlib.import_module(_HOME[name]), name)
    raise AttributeError(f"module 'torchdiff.tune' has no attribute {name!r}")
