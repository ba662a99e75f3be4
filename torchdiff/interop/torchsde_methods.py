"""Which methods of torchsde there are here, and what a step of each costs. No torch."""

from __future__ import annotations

from torchdiff.errors import OptionError, shown

# method: (its calculus, evaluations of the drift in one step where the noise is additive)
METHODS = {
    "euler": ("ito", 1),
    "milstein": ("ito", 1),
    "srk": ("ito", 2),
    "midpoint": ("stratonovich", 2),
    "heun": ("stratonovich", 2),
    "euler_heun": ("stratonovich", 1),
}


def check_method(name: str) -> None:
    """Raises OptionError for a method that is not in METHODS."""
    if name not in METHODS:
        raise OptionError(
            f"torchsde's methods here are {', '.join(METHODS)}, got {shown(name)} (log_ode needs Levy areas that our "
            f"paths do not have, reversible_heun a memory that a single step has not)"
        )
