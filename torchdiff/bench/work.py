"""Makes the cells of a bench, one after the other, and knows how long the next one takes."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import torch

from torchdiff import gaussian
from torchdiff.bench.cells import Record
from torchdiff.bench.contenders import Scene
from torchdiff.bench.meter import Meter, alone, waiting
from torchdiff.bench.question import Job, Question
from torchdiff.bench.store import Store
from torchdiff.bench.subject import Subject
from torchdiff.errors import IncompatibleError, NonFiniteError, PlanError, StepSizeError, TorchdiffError
from torchdiff.metrics import Gauge

ROOM = 1.25  # a cell may take so much longer than foreseen
STOPS = (IncompatibleError, NonFiniteError, PlanError, StepSizeError)  # that end a cell, not the bench


class Work:
    """pace: seconds a network call of a batch, judging left out; judging: seconds of the last cell's."""

    def __init__(
        self, asked: Question, subject: Subject, scene: Scene, gauges: Mapping[str, Gauge], meter: Meter, store: Store
    ) -> None:
        self.asked, self.subject, self.scene = asked, subject, scene
        self.gauges, self.meter, self.store = gauges, meter, store
        self.warm: set[str] = set()
        self.pace = 0.0  # seconds a network call of a batch, judging left out
        self.judging = 0.0  # of the last cell
        self.ready_after = time.perf_counter()

    def calls(self, job: Job) -> int:
        """Network calls of a cell, all batches; at least one where nobody knows."""
        return (job.ready.calls or 1) * -(-self.asked.count // self.asked.batch)

    def foreseen(self, job: Job) -> float:
        return ROOM * (self.calls(job) * self.pace + self.judging)

    def cells(self, waits: list[Job], deadline: float | None) -> int:
        """Make these; returns how many there was time for."""
        for number, job in enumerate(waits):
            self._warm(job)
            self.ready_after = time.perf_counter()
            if deadline is not None and self.ready_after + self.foreseen(job) > deadline:
                return number
            record, x = self._cell(job.refreshed(self.scene))
            self.store.add(record, x)
        return len(waits)

    def _warm(self, job: Job) -> None:
        """A run of one step before a contender's first cell: what is loaded and compiled once is not timed."""
        if job.entry in self.warm:
            return
        self.warm.add(job.entry)
        tick, self.meter.tick = self.meter.tick, lambda: None
        count = min(self.asked.batch, self.asked.count)
        try:
            ready = job.contender.ready(self.scene, "steps", 1, job.grid)
            for _ in range(1 if self.pace else 2):  # the second of them says how fast it is
                self.meter.reset()
                began = time.perf_counter()
                job.contender.sample(self.scene, ready, job.seed, 0, count)
                waiting(torch.empty(0, device=self.scene.device))()
                pace = (time.perf_counter() - began) / max(1, self.meter.calls)
            self.pace = self.pace or pace
        except TorchdiffError:  # one step alone is more than it can do; its cell will say what is wrong, if anything is
            pass
        finally:
            self.meter.tick = tick

    def _cell(self, job: Job) -> tuple[Record, Any]:
        """The record of a run, and its samples where all of them are finite."""
        parts, finite, problem = [], 0, None
        most, rows, whole, network = 0, 0, 0.0, 0.0
        wait = waiting(torch.empty(0, device=self.scene.device))
        for first in range(0, self.asked.count, self.asked.batch):
            size = min(self.asked.batch, self.asked.count - first)
            self.meter.reset()
            began = time.perf_counter()
            try:
                x, fine = job.contender.sample(self.scene, job.ready, job.seed, first, size)
                wait()
            except STOPS as error:
                problem = f"{type(error).__name__}: {' '.join(str(error).split())}"
                break
            finally:
                whole += time.perf_counter() - began
                network += self.meter.seconds
                most, rows = max(most, self.meter.calls), rows + self.meter.rows
            parts.append(x.cpu())
            finite += int(fine.sum())
        if problem is None and finite < self.asked.count:
            problem = f"{self.asked.count - finite} of {self.asked.count} samples are not finite"
        x = None if problem else torch.cat(parts)
        began = time.perf_counter()
        with alone():
            scores = {} if x is None else {name: g.measure(x)._asdict() for name, g in self.gauges.items()}
        self.judging = time.perf_counter() - began
        self.pace = whole / max(1, self.calls(job)) if job.ready.calls else self.pace
        record = {
            "kind": "cell",
            "key": job.key,
            "solver": job.contender.spec,
            "grid": job.ready.grid,
            "chose": job.ready.chose,
            "way": job.way,
            "asked": job.asked,
            "seed": job.seed,
            "count": self.asked.count,
            "steps": job.ready.steps,
            "promised": job.ready.calls,
            "calls": most,
            "rows": rows,
            "finite": finite,
            "problem": problem,
            "exact_w2": self._exact(job),
            "metrics": scores,
            # rounded down to microseconds, so that update and network are never more than the whole
            "timing": _times(whole, network) | {"judging": int(1e6 * self.judging) / 1e6},
        }
        return record, x

    def _exact(self, job: Job) -> float | None:
        """Wasserstein-2 distance on Gaussian data of the same spectrum, not sampled; None for what is not affine."""
        if job.ready.plan is None or self.subject.spectrum is None:
            return None
        try:
            value = gaussian.w2(job.ready.plan, *self.subject.spectrum())
        except IncompatibleError:
            return None
        return value if value < float("inf") else None


def _times(whole: float, network: float) -> dict[str, float]:
    ticks, inside = int(1e6 * whole), int(1e6 * network)
    return {"whole": ticks / 1e6, "network": inside / 1e6, "update": (ticks - inside) / 1e6}
