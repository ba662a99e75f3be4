"""The progress bar of a run, in network calls or other pieces of work."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from tqdm.auto import tqdm


@contextmanager
def bar(calls: int | None, shown: bool | str, unit: str = "call") -> Iterator[Callable[[], None]]:
    """A function that ticks once a network call, or another unit; a bar if `shown`, named by it if it is a string.

    It shows the time left where the number of calls is known.
    """
    if not shown:
        yield lambda: None
        return
    name = shown if isinstance(shown, str) else None
    with tqdm(total=calls, unit=unit, desc=name, leave=False) as meter:
        yield lambda: (meter.update(), None)[1]
