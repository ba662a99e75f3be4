"""What was made of an object, kept while the object is among the last few that were asked for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, TypeVar

Made = TypeVar("Made")
KEPT = 16


class Recent(Generic[Made]):
    """made = recent(thing): `make(thing)`, or what came of it before for this very object."""

    def __init__(self, make: Callable[[Any], Made]) -> None:
        self.make = make
        self.kept: dict[int, tuple[Any, Made]] = {}  # the objects too: an id is another's once its object is gone

    def __call__(self, thing: Any) -> Made:
        found = self.kept.get(id(thing))
        if found is None:
            found = (thing, self.make(thing))
            if len(self.kept) >= KEPT:
                self.kept.clear()  # no order is kept: threads may add at the same time
            self.kept[id(thing)] = found
        return found[1]
