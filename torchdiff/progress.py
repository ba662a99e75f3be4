"""The progress bar of a run, in network calls."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from tqdm.auto import tqdm


@contextmanager
def bar(calls: int, shown: bool) -> Iterator[Callable[[], None]]:
    """A function that ticks once a network call; a bar with the time left if `shown`."""
    if not shown:
        yield lambda: None
        return
    with tqdm(total=calls, unit="call", leave=False) as meter:
        yield lambda: (meter.update(), None)[1]
