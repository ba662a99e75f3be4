"""The square-root noise schedule."""

import math
from dataclasses import dataclass

from torchdiff import ScalarSDE


@dataclass(frozen=True)
class ExampleSDE(ScalarSDE):
    """Variance-preserving process whose noise rises at once.

        alpha(t)^2 = 1 - sqrt(t),   sigma(t)^2 = sqrt(t),   t in [0, t_max], data at t = 0

    t is dimensionless; alpha and sigma scale data of unit variance.
    Raises OptionError unless 0 <= t_min < t_max < 1, and for t outside [0, t_max].
    Source: Li et al. 2022, arXiv:2205.14217, appendix A, with s = 0 (their alpha-bar is alpha**2).
    """

    t_min: float = 1e-4
    t_max: float = 0.999
    torchdiff_api = 1  # without an annotation: no option

    def __post_init__(self):
        self.check_range()

    def alpha(self, t):
        return math.sqrt(1.0 - math.sqrt(t))

    def sigma(self, t):
        return t**0.25

    def rates(self, t):
        """alpha' and sigma': drift, diffusion, transition and the probability flow follow from them."""
        return -0.25 / (math.sqrt(t) * self.alpha(t)), 0.25 * t**-0.75

    def at(self, half_log_snr):
        """The level of a log(alpha / sigma). The base class finds it by bisection; this is faster."""
        variance = 1.0 / (1.0 + math.exp(2.0 * half_log_snr))  # sigma^2
        return self.level(self.settle(variance**2, half_log_snr))
