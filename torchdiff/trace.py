"""From a formula to a plan: run it on linear forms, keep what is read again, merge what has no network call between."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from torchdiff.blocks import pack, unpack
from torchdiff.counters import STEP, draw_number
from torchdiff.drive import drive
from torchdiff.drive import take as take_step
from torchdiff.errors import PlanError
from torchdiff.form import Form, Key
from torchdiff.plans import Plan
from torchdiff.predict import Denoiser, check_prediction, read, reading
from torchdiff.sde.base import Level, LinearSDE
from torchdiff.solvers.base import Carry, Solver, Span, check_fit
from torchdiff.steps import AffineStep, OpaqueStep


@dataclass
class _Segment:
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


class _Recorder:
    """Runs the driver on forms. Columns are numbered as they come to life; a draw's column is ~draw."""

    def __init__(self, sde: LinearSDE, denoiser: Denoiser) -> None:
        self.sde, self.denoiser = sde, denoiser
        self.columns = sde.blocks
        self.segments = [_Segment()]
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
        mix, meaning = self.denoiser.mix(level), reading(self.sde, self.denoiser, level)
        outs = self.new(len(mix))
        self.segments.append(_Segment(level, feed, outs, step=self.step, scale=scale, mix=mix, meaning=meaning))
        return read(self.sde, self.denoiser, x, tuple(map(Form.column, outs)), level)

    def noise(self, step: int, part: int) -> Any:
        calls = iter(range(1 << 30))

        def draw(start: Level, end: Level) -> Any:
            call = next(calls)
            blocks = range(self.sde.blocks)
            return pack(Form.column(~draw_number(STEP, step, part, call, block)) for block in blocks)

        return draw

    def take(self, part: Solver, index: int, x: Any, span: Span, predict: Any, noise: Any) -> Carry:
        self.step = span.index
        if part.affine:
            return self.settle(_checked(part, self.sde, take_step(part, index, x, span, predict, noise)))
        x = self.settle(x)
        blocks = unpack(x)
        outs = self.new(self.sde.blocks)
        bare = span._replace(past=())  # the executor keeps what an opaque part remembers
        self.segments.append(
            _Segment(feed=tuple(b.single for b in blocks), outs=outs, opaque=(part, index, bare), step=self.step)
        )
        return Carry(pack(map(Form.column, outs)), None)

    def after(self, step: int, x: Any) -> None:
        if self.segments[-1].shows:
            self.segments.append(_Segment(step=step))  # an interval without a network call of its own
        self.segments[-1].shows = tuple(b.single for b in unpack(x))


def _checked(part: Solver, sde: LinearSDE, carry: Carry) -> Carry:
    """What a step returned, if it is a state of forms. Raises PlanError for anything else."""
    blocks = unpack(carry.x)
    if len(blocks) != sde.blocks or not all(isinstance(block, Form) for block in blocks):
        raise PlanError(
            f"the step of {part!r} returned {type(carry.x).__name__}; expected the new x, or Carry(x, memo), "
            f"with {sde.blocks} block(s) made by + and - and * from what the step was given"
        )
    return carry


def trace(
    solver: Solver,
    sde: LinearSDE,
    grid: tuple[Level, ...],
    denoiser: Denoiser,
    *,
    final: Solver | None = None,
    watch: bool = False,
) -> Plan:
    """The plan of a solver on a grid. watch: keep x at the end of every interval, for a callback.

    Raises IncompatibleError if solver or prediction do not fit the SDE, PlanError for a weight that is not finite.
    """
    check_fit(solver, sde)
    check_prediction(sde, denoiser.prediction)
    recorder = _Recorder(sde, denoiser)
    x = pack(map(Form.column, range(sde.blocks)))
    x = drive(
        solver, sde, grid, x, recorder.predict, recorder.noise, final=final, take=recorder.take, after=recorder.after
    )
    result = tuple(b.single for b in unpack(x))
    segments = recorder.segments
    for segment in segments:
        _flatten(segment)
    _prune(segments, set(result), watch)
    items, slots = _emit(segments, list(range(sde.blocks)), _last_uses(segments, result, watch))
    answer = tuple(slots.index(key) for key in result)
    return Plan(items, answer, grid, sde, solver, denoiser.prediction, final is not None).check()


def _flatten(segment: _Segment) -> None:
    """Rows in terms of what is live before them: rows of one segment do not read each other."""
    known: dict[Key, Form] = {}
    for key, form in segment.rows.items():
        known[key] = form.substitute(known)
    segment.rows = known


def _prune(segments: list[_Segment], needed: set[Key], watch: bool) -> None:
    """Drop dead rows, last segment first; keep in each `shows` what is live all the same."""
    for segment in reversed(segments):
        if watch:
            needed |= set(segment.shows)
        if not needed >= set(segment.shows):
            segment.shows = ()
        segment.rows = {key: form for key, form in segment.rows.items() if key in needed}
        needed -= set(segment.rows)
        for form in segment.rows.values():
            needed |= {key for key in form.terms if key >= 0}
        needed -= set(segment.outs)
        needed |= set(segment.feed)


def _last_uses(segments: list[_Segment], result: tuple[Key, ...], watch: bool) -> dict[Key, float]:
    """Column -> the last segment that reads it; half a segment later where a callback wants to see it after it."""
    last: dict[Key, float] = {}
    for place, segment in enumerate(segments):
        for key in (*segment.feed, *_row_reads(segment)):
            last[key] = place
        if watch:
            for key in segment.shows:
                last[key] = place + 0.5
    return {**last, **dict.fromkeys(result, float(len(segments)))}


def _emit(
    segments: list[_Segment], state: list[Key], last_use: dict[Key, float]
) -> tuple[tuple[AffineStep | OpaqueStep, ...], list[Key]]:
    items: list[AffineStep | OpaqueStep] = []
    for place, segment in enumerate(segments):
        if segment.at is None and segment.opaque is None and not segment.rows and not segment.shows:
            continue
        feed = tuple(state.index(key) for key in segment.feed)
        if segment.opaque is not None:
            part, index, span = segment.opaque
            kept = [key for key in state if last_use.get(key, -1) > place or key in _row_reads(segment)]
            state_after = [*segment.outs, *kept]
            keep = tuple(state.index(key) for key in kept)
            shows = () if segment.rows else _slots(segment.shows, state_after)
            items.append(OpaqueStep(part, index, span, feed, keep, segment.step, shows))
            state, feed = state_after, ()
            if not segment.rows:
                continue
        live = [*state, *(segment.outs if segment.opaque is None else ())]
        reads = [key for key in live if key in _row_reads(segment)]
        if segment.rows and not reads:
            reads = live[:1]  # the op takes its shape from a tensor; this one enters with weight 0
        draws = sorted({~key for form in segment.rows.values() for key in form.terms if key < 0})
        kept = [key for key in live if last_use.get(key, -1) > place and key not in segment.rows]
        state = [*segment.rows, *kept]
        items.append(
            AffineStep(
                at=segment.at,
                feed=feed,
                reads=tuple(live.index(key) for key in reads),
                weights=tuple(tuple(form.terms.get(key, 0.0) for key in reads) for form in segment.rows.values()),
                draws=tuple(draws),
                noise=tuple(tuple(form.terms.get(~draw, 0.0) for draw in draws) for form in segment.rows.values()),
                keep=tuple(live.index(key) for key in kept),
                step=segment.step,
                shows=_slots(segment.shows, state),
                scale=segment.scale,
                mix=segment.mix,
                meaning=segment.meaning,
            )
        )
    return tuple(items), state


def _slots(keys: tuple[Key, ...], state: list[Key]) -> tuple[int, ...]:
    return tuple(state.index(key) for key in keys) if all(key in state for key in keys) else ()


def _row_reads(segment: _Segment) -> set[Key]:
    return {key for form in segment.rows.values() for key in form.terms if key >= 0}
