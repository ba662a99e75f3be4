"""From a spec to what competes: a solver of ours, or a sampler of another library."""

from __future__ import annotations

from torchdiff.auto import is_auto
from torchdiff.bench.contenders import Auto, Contender, Ours
from torchdiff.bench.specs import LIBRARIES
from torchdiff.registry import SOLVERS


def contender(spec: str) -> Contender:
    """The contender of a spec. Raises UnknownNameError, OptionError, PluginError or DependencyError."""
    library, _, rest = spec.partition(":")
    if library in LIBRARIES and library not in SOLVERS:
        from torchdiff.bench import azula, diffusers

        return (diffusers if library == "diffusers" else azula).contender(rest)
    return Auto() if is_auto(spec) else Ours(SOLVERS.get(spec))
