"""A plan as a table for people."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torchdiff.aligned import aligned
from torchdiff.registry import SDES, SOLVERS
from torchdiff.sde.base import Level
from torchdiff.steps import AffineStep, OpaqueStep, calls_of, slots_after

if TYPE_CHECKING:
    from torchdiff.plans import Plan

HEAD = ("step", "t", "alpha", "sigma", "network", "row", "weights of what it reads", "noise", "sum |w|")


def table(plan: Plan, limit: int | None = None) -> str:
    """A line a row of the plan; s0, s1, ... are the state, n0, ... the network's outputs, z(draw) fresh normals.

    z(draw: start to end) is the increment of a Brownian path over that time, divided by the root of its length;
    z(draw: area, start to end) its space-time Levy area there, divided by the root of a twelfth of it.
    """
    slots = plan.blocks
    entries: list[list[tuple[str, ...]]] = []
    for item, calls in zip(plan.items, calls_of(plan.items), strict=True):
        entries.append(_lines(plan, item, slots, calls))
        slots = slots_after(item, plan.blocks)
    if limit is not None and len(entries) > limit:
        half = limit // 2
        gap = ("...", f"{len(entries) - 2 * half} more", *[""] * (len(HEAD) - 2))
        entries = [*entries[:half], [gap], *entries[-half:]]
    body = aligned([HEAD, *(line for entry in entries for line in entry)])
    title = (
        f"{SOLVERS.label(plan.solver)} on {SDES.label(plan.sde)}, {plan.prediction} network: {plan.steps} steps"
        f"{' and a final one' if plan.final else ''}, {count(plan.calls, 'network call')}, {len(plan.draws)} draws"
        f"{f' ({len(plan.spans) + len(plan.areas)} of Brownian paths)' if plan.noise == 'brownian' else ''}, "
        f"largest sum |w| of x {plan.growth:.3g}"
    )
    return "\n".join([title, body[0], "-" * max(map(len, body)), *body[1:]])


def count(calls: int | None, what: str) -> str:
    """So many calls, in words."""
    return f"{what}s by error control" if calls is None else f"{calls} {what}{'s' * (calls != 1)}"


def _lines(plan: Plan, item: AffineStep | OpaqueStep, slots: int, calls: int | None) -> list[tuple[str, ...]]:
    if isinstance(item, OpaqueStep):
        cur = item.span.cur
        head = (str(item.step), f"{cur.t:.4g}", *_level(cur), count(calls, "call"))
        return [(*head, "x", f"{SOLVERS.label(item.part)} on tensors", "", "")]
    level = ("", "", "", "")
    if item.at is not None:
        fed = ", ".join(f"s{slot}" for slot in item.feed)
        outs = ", ".join(f"n{i}" for i in range(len(item.mix)))
        level = (f"{item.at.t:.4g}", *_level(item.at), f"{outs} = net({fed})")
    head, lines = (str(item.step), *level), []
    spans = {
        draw: f": {what}{start:.4g} to {end:.4g}"
        for known, what in ((plan.spans, ""), (plan.areas, "area, "))
        for draw, start, end in known
        if draw in item.draws
    }
    names = [f"s{slot}" if slot < slots else f"n{slot - slots}" for slot in item.reads]
    for row, (weights, noise) in enumerate(zip(item.weights, item.noise, strict=True)):
        terms = " ".join(f"{w:+.4f} {name}" for w, name in zip(weights, names, strict=True) if w != 0.0)
        fresh = " ".join(
            f"{w:+.4f} z({d}{spans.get(d, '')})" for w, d in zip(noise, item.draws, strict=True) if w != 0.0
        )
        total = sum(map(abs, weights)) + sum(map(abs, noise))
        lines.append((*head, f"s{row}", terms, fresh, f"{total:.4g}"))
        head = ("",) * 5
    return lines or [(*head, "", "", "", "")]


def _level(level: Level) -> tuple[str, str]:
    return (f"{level.alpha:.4g}", f"{level.sigma:.4g}") if level.scalar else ("", "")
