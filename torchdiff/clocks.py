"""The clock of one sample under error control. Floats only."""

from __future__ import annotations

import math

from torchdiff.errors import StepSizeError

SAFETY, LEAST, MOST = 0.9, 0.2, 10.0  # a new step is this times what the error asks for, within these factors
POWER = 1 / 5  # the error of a step is of fifth order


class Clock:
    """One sample's way from start to end: the rules of scipy.integrate.RK45 for steps, word by word.

    Source: Hairer, Norsett & Wanner 1993, Solving Ordinary Differential Equations I, section II.4.
    """

    def __init__(self, sample: int, start: float, end: float) -> None:
        self.sample, self.t, self.end = sample, start, end
        self.sign = math.copysign(1.0, end - start)
        self.size = 0.0  # of the next step, without its sign
        self.new, self.h = start, 0.0  # end of the step at hand, and its length with its sign
        self.running, self.rejected, self.moved, self.lost = True, False, False, False

    def probe(self, state: float, slope: float) -> float:
        """The trial step that tells how long the first one is; state, slope: their sizes over that of an error."""
        if self.check(state, slope):
            self.size = min(abs(self.end - self.t), 1e-6 if min(state, slope) < 1e-5 else 0.01 * state / slope)
            self.h = self.size * self.sign
            self.new = self.within(self.t + self.h)
        return self.h

    def begin(self, slope: float, change: float) -> None:
        """The length of the first step, from the size of the slope and of its change over the trial step."""
        if self.running and self.check(change):
            steepest = max(slope, change / self.size)
            best = (0.01 / steepest) ** POWER if steepest > 1e-15 else max(1e-6, self.size * 1e-3)
            self.size = min(100.0 * self.size, best, abs(self.end - self.t))

    def propose(self) -> float:
        """The step at hand, with its sign: none for a sample that has arrived or is lost."""
        if not self.running:
            self.new, self.h = self.t, 0.0
            return 0.0
        if not self.rejected:
            self.size = max(self.size, self.least)
        self.new = self.within(self.t + self.size * self.sign)
        self.h = self.new - self.t
        self.size = abs(self.h)
        return self.h

    def at(self, node: float) -> float:
        """The time of a stage of the step at hand; t + h may miss its end by the last bit."""
        return self.new if node == 1.0 else self.t + node * self.h

    def within(self, t: float) -> float:
        """t, or the end of the way if t lies beyond it."""
        return self.end if self.sign * (t - self.end) > 0.0 else t

    def judge(self, error: float, rtol: float, atol: float) -> None:
        """Accept or reject the step at hand by its error, and say how long the next one is."""
        self.moved = False
        if not self.running or not self.check(error):
            return
        if error < 1.0:
            factor = MOST if error == 0.0 else min(MOST, SAFETY * error**-POWER)
            self.size *= min(1.0, factor) if self.rejected else factor
            self.t, self.moved, self.rejected = self.new, True, False
            self.running = self.sign * (self.t - self.end) < 0.0
            return
        self.size *= max(LEAST, SAFETY * error**-POWER)
        self.rejected = True
        if self.size < self.least:
            raise StepSizeError(
                f"sample {self.sample} needs steps below {self.least:.3g} at t = {self.t!r} to keep its error within "
                f"rtol = {rtol:g} and atol = {atol:g}: its flow is singular there, or jumps; keep away from there with "
                f"t_max or t_min, or allow larger errors"
            )

    @property
    def least(self) -> float:
        """The shortest step that the clock can tell apart."""
        return 10.0 * abs(math.nextafter(self.t, self.sign * math.inf) - self.t)

    def check(self, *sizes: float) -> bool:
        """Whether all are finite; if not, the sample is lost, and its way ends here."""
        self.lost = self.lost or not all(map(math.isfinite, sizes))
        self.running = self.running and not self.lost
        return not self.lost
