"""A formula run on linear forms, and what it did: segments of rows between network calls."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from torchdiff.blocks import pack, unpack
from torchdiff.counters import STEP, draw_number
from torchdiff.denoiser import Denoiser
from torchdiff.drive import take as take_step
from torchdiff.errors import PlanError
from torchdiff.form import Form, Key
from torchdiff.intervals import Claims, Interval, duration
from torchdiff.levy import pair
from torchdiff.predict import read
from torchdiff.sde.base import Level, LinearSDE
from torchdiff.solvers.base import Carry, Solver, Span


@dataclass
class Segment:
    """A network call (or an opaque step, or neither) and the rows up to the next one."""

    at: Level | None = None
    feed: tuple[Key, ...] = ()
    outs: tuple[Key, ...] = ()
    opaque: tuple[Solver, int, Span] | None = None
    rows: dict[Key, Form] = field(default_factory=dict)
    step: int = 0
    shows: tuple[Key, ...] = ()  # x at the end of the interval, if the segment reaches it
    scale: float = 1.0
    mix: tuple[float, ...] = ()
    meaning: tuple[float, ...] = ()


class Recorder:
    """Runs the driver on forms. Columns are numbered as they come to life; a draw's column is ~draw."""

    def __init__(self, sde: LinearSDE, denoiser: Denoiser, noise: str = "white") -> None:
        self.sde, self.denoiser, self.brownian = sde, denoiser, noise == "brownian"
        self.claims: Claims | None = None  # of the step at hand, where the noise is Brownian
        self.spans: dict[int, Interval] = {}  # the draws that are increments of a path, and over which interval
        self.areas: dict[int, Interval] = {}  # those that are its space-time Levy areas
        self.columns = sde.blocks
        self.segments = [Segment()]
        self.step = 0

    def new(self, count: int) -> tuple[Key, ...]:
        self.columns += count
        return tuple(range(self.columns - count, self.columns))

    def settle(self, value: Any) -> Any:
        """Every form inside `value` as one column: sums become rows, tensors that exist stay by reference."""
        if isinstance(value, Form):
            if value.single is not None:
                return value
            (key,) = self.new(1)
            segment = self.segments[-1]
            segment.rows[key] = value
            if segment.at is None and segment.opaque is None:
                segment.step = self.step
            return Form.column(key)
        if isinstance(value, dict):
            return {name: self.settle(v) for name, v in value.items()}
        if isinstance(value, tuple | list):
            settled = [self.settle(v) for v in value]
            return type(value)(*settled) if hasattr(value, "_fields") else type(value)(settled)
        return value

    def predict(self, x: Any, level: Level) -> Any:
        blocks = unpack(x)
        for block in blocks:
            if block.noisy:  # noise is added once: the form becomes its own column, wherever the formula holds it
                block.terms = dict(self.settle(Form(block.terms)).terms)
        scale = self.denoiser.scale(level)
        feed = tuple(self.settle(block * scale if scale != 1.0 else block).single for block in blocks)
        mix, meaning = self.denoiser.mix(level), self.denoiser.meaning(level)
        outs = self.new(len(mix))
        self.segments.append(Segment(level, feed, outs, step=self.step, scale=scale, mix=mix, meaning=meaning))
        return read(self.sde, self.denoiser, x, tuple(map(Form.column, outs)), level)

    def noise(self, step: int, part: int) -> Columns:
        return Columns(self, step, part)

    def take(self, part: Solver, index: int, x: Any, span: Span, predict: Any, noise: Any) -> Carry:
        self.step = span.index
        self.claims = Claims(self.sde, part, span) if self.brownian else None
        if part.affine:
            return self.settle(_checked(part, self.sde, take_step(part, index, x, span, predict, noise)))
        if self.brownian and part.moves and not part.deterministic:
            duration(self.sde, (span.cur.t, span.nxt.t))  # refuses what has no tick, before the run
        x = self.settle(x)
        blocks = unpack(x)
        outs = self.new(self.sde.blocks)
        bare = span._replace(past=())  # the executor keeps what an opaque part remembers
        self.segments.append(
            Segment(feed=tuple(b.single for b in blocks), outs=outs, opaque=(part, index, bare), step=self.step)
        )
        return Carry(pack(map(Form.column, outs)), None)

    def after(self, step: int, x: Any) -> None:
        if self.segments[-1].shows:
            self.segments.append(Segment(step=step))  # an interval without a network call of its own
        self.segments[-1].shows = tuple(b.single for b in unpack(x))


class Columns:
    """The noise of one step on forms: noise(start, end) and noise.joint(start, end) are columns of new draws."""

    def __init__(self, recorder: Recorder, step: int, part: int) -> None:
        self.recorder, self.step, self.part, self.call = recorder, step, part, 0

    def __call__(self, start: Level, end: Level) -> Any:
        draws = self._draws()
        self._claim(start, end, (draws, self.recorder.spans))
        return pack(Form.column(~draw) for draw in draws)

    def joint(self, start: Level, end: Level) -> tuple[Any, Any]:
        """(W, U) as Draws.joint has them."""
        draws, areas = self._draws(), self._draws()
        self._claim(start, end, (draws, self.recorder.spans), (areas, self.recorder.areas))
        made = iter((draws, areas))
        return pair(lambda start, end: pack(Form.column(~draw) for draw in next(made)), start, end)

    def _draws(self) -> list[int]:
        """The next call's draws, one a block."""
        self.call += 1
        return [draw_number(STEP, self.step, self.part, self.call - 1, b) for b in range(self.recorder.sde.blocks)]

    def _claim(self, start: Level, end: Level, *known: tuple[list[int], dict[int, Interval]]) -> None:
        claims = self.recorder.claims
        interval = claims.claim(start, end) if claims else None
        if interval is not None:
            for draws, intervals in known:
                intervals.update(dict.fromkeys(draws, interval))


def _checked(part: Solver, sde: LinearSDE, carry: Carry) -> Carry:
    """What a step returned, if it is a state of forms. Raises PlanError for anything else."""
    blocks = unpack(carry.x)
    if len(blocks) != sde.blocks or not all(isinstance(block, Form) for block in blocks):
        raise PlanError(
            f"the step of {part!r} returned {type(carry.x).__name__}; expected the new x, or Carry(x, memo), "
            f"with {sde.blocks} block(s) made by + and - and * from what the step was given"
        )
    return carry
