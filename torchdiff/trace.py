"""From a formula to a plan: run it on linear forms, keep what is read again, merge what has no network call between."""

from __future__ import annotations

from dataclasses import replace

from torchdiff.blocks import pack, unpack
from torchdiff.denoiser import Denoiser
from torchdiff.drive import drive
from torchdiff.form import Form, Key
from torchdiff.plans import Plan
from torchdiff.predict import check_prediction
from torchdiff.record import Recorder, Segment
from torchdiff.sde.base import Level, LinearSDE
from torchdiff.solvers.base import Solver, check_fit
from torchdiff.steps import AffineStep, OpaqueStep


def trace(
    solver: Solver,
    sde: LinearSDE,
    grid: tuple[Level, ...],
    denoiser: Denoiser,
    *,
    final: Solver | None = None,
    watch: bool = False,
    noise: str = "white",
) -> Plan:
    """The plan of a solver on a grid. watch: keep x at the end of every interval, for a callback. noise: see `plan`.

    Raises IncompatibleError if solver or prediction do not fit the SDE, PlanError for a weight that is not finite.
    """
    check_fit(solver, sde)
    check_prediction(sde, getattr(denoiser, "convention", denoiser.prediction))
    recorder = Recorder(sde, denoiser, noise)
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
    plan = Plan(items, answer, grid, sde, solver, denoiser.prediction, final is not None, noise)
    spans, areas = (
        tuple((draw, *known[draw]) for draw in plan.draws if draw in known)
        for known in (recorder.spans, recorder.areas)
    )
    return replace(plan, spans=spans, areas=areas).split().check()


def _flatten(segment: Segment) -> None:
    """Rows in terms of what is live before them: rows of one segment do not read each other."""
    known: dict[Key, Form] = {}
    for key, form in segment.rows.items():
        known[key] = form.substitute(known)
    segment.rows = known


def _prune(segments: list[Segment], needed: set[Key], watch: bool) -> None:
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


def _last_uses(segments: list[Segment], result: tuple[Key, ...], watch: bool) -> dict[Key, float]:
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
    segments: list[Segment], state: list[Key], last_use: dict[Key, float]
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


def _row_reads(segment: Segment) -> set[Key]:
    return {key for form in segment.rows.values() for key in form.terms if key >= 0}
