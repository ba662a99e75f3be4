"""Which methods of torchsde there are here, and what a step of each costs. No torch."""

from __future__ import annotations

from typing import Any

from torchdiff.errors import DependencyError, OptionError, shown

# method: (its calculus, evaluations of the drift in one step where the noise is additive)
METHODS = {
    "euler": ("ito", 1),
    "milstein": ("ito", 1),
    "srk": ("ito", 2),
    "midpoint": ("stratonovich", 2),
    "heun": ("stratonovich", 2),
    "euler_heun": ("stratonovich", 1),
    "log_ode": ("stratonovich", 2),
    "reversible_heun": ("stratonovich", 1),  # and one more in its first step
}
REMEMBERS = ("reversible_heun",)  # a state besides y, from step to step


def check_method(name: str) -> None:
    """Raises OptionError for a method that is not in METHODS."""
    if name not in METHODS:
        raise OptionError(f"torchsde's methods here are {', '.join(METHODS)}, got {shown(name)}")


def torchsde() -> Any:
    """The package. Raises DependencyError with the way out where it is not installed."""
    try:
        import torchsde  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise DependencyError(
            f"torchsde's methods need torchsde, which does not import ({error}); the way out: pip install torchsde"
        ) from error
    return torchsde
