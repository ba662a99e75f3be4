"""The records of a bench: a header, then a line of JSON for each cell and each comparison. What they hold, and a check.

    header  format, config, versions, machine, left_out: what was asked, by what, where, and what could not run
    cell    one run: a contender on a grid at a number of calls or steps, with one seed
    versus  the paired comparison of two contenders at one budget, over all seeds
    across  that of the best of all, at its budget, and the best at a budget of fewer network calls

All that two equal runs may differ in stands in `timing`.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from torchdiff.errors import OptionError, shown

FORMAT = 1
NUMBER, WHOLE, TEXT = (int, float), (int,), (str,)
FIELDS: dict[str, dict[str, tuple[type, ...]]] = {
    "header": {
        "format": WHOLE, "config": (dict,), "versions": (dict,), "machine": (dict,), "left_out": (list,),
        "command": TEXT,
        "picked": (list,), "planned": WHOLE, "timing": (dict,),
    },
    "cell": {
        "key": TEXT, "solver": TEXT, "grid": TEXT, "chose": TEXT, "way": TEXT, "asked": WHOLE, "seed": WHOLE,
        "count": WHOLE, "steps": WHOLE, "promised": (int, type(None)), "calls": WHOLE, "rows": WHOLE, "finite": WHOLE,
        "problem": (str, type(None)), "exact_w2": (int, float, type(None)), "metrics": (dict,), "timing": (dict,),
    },
    "versus": {
        "key": TEXT, "metric": TEXT, "budget": TEXT, "best": TEXT, "other": TEXT, "difference": NUMBER, "low": NUMBER,
        "high": NUMBER, "against": WHOLE, "tie": (bool,),
    },
    "across": {
        "key": TEXT, "metric": TEXT, "budget": TEXT, "best": TEXT, "cheaper": TEXT, "other": TEXT,
        "difference": NUMBER, "low": NUMBER, "high": NUMBER, "against": WHOLE, "tie": (bool,),
    },
}  # fmt: skip
METRIC = ("value", "low", "high", "floor", "floor_low", "floor_high")
TIMING = ("whole", "network", "update", "judging")
Record = dict[str, Any]


@dataclass(frozen=True)
class Cells(Sequence[Record]):
    """The cells of a bench in the order in which they were asked for, with what stands beside them.

    header, versus, across: the other records. samples: by the key of a cell, those that are shown, (n, *shape).
    """

    header: Record
    cells: tuple[Record, ...]
    versus: tuple[Record, ...] = ()
    samples: Mapping[str, Any] = field(default_factory=dict, repr=False)
    across: tuple[Record, ...] = ()

    def __len__(self) -> int:
        return len(self.cells)

    def __getitem__(self, place: Any) -> Any:
        return self.cells[place]

    def __iter__(self) -> Iterator[Record]:
        return iter(self.cells)

    @property
    def metrics(self) -> tuple[str, ...]:
        return tuple(self.header["config"]["metrics"])

    def text(self) -> str:
        """All records, a line each."""
        return "".join(line(record) for record in (self.header, *self.cells, *self.versus, *self.across))


def line(record: Record) -> str:
    """A record as a line of JSON; floats as the shortest digits that give the same float64."""
    return json.dumps(record, allow_nan=False, ensure_ascii=False, separators=(",", ":")) + "\n"


def parse(text: str, where: str) -> list[Record]:
    """The records in the lines of a file, checked. Raises OptionError naming line and field."""
    records = []
    for number, words in enumerate(text.splitlines(), 1):
        try:
            records.append(check(json.loads(words)))
        except (ValueError, RecursionError) as error:
            raise OptionError(f"{where}, line {number}: {error}") from error
    if records and records[0]["kind"] != "header":
        raise OptionError(f"{where} does not begin with the header of a bench")
    return records


def check(record: Any) -> Record:
    """The record. Raises OptionError for a field that is missing, unknown or of another type."""
    kind = record.get("kind") if isinstance(record, dict) else None
    if kind not in FIELDS:
        raise OptionError(f"expected a record of a kind {', '.join(FIELDS)}, got {shown(record)}")
    fields = FIELDS[kind]
    if odd := sorted({*record} ^ {"kind", *fields}):
        raise OptionError(f"a {kind} has the fields {', '.join(fields)}; {odd[0]!r} is missing or too many")
    for name, types in fields.items():
        value = record[name]
        if not isinstance(value, types) or (isinstance(value, bool) and bool not in types):
            wanted = " or ".join("null" if t is type(None) else t.__name__ for t in types)
            raise OptionError(f"field {name!r} of a {kind}: expected {wanted}, got {shown(value)}")
    if kind == "header" and record["format"] != FORMAT:
        raise OptionError(f"the file has format {record['format']}, this version reads {FORMAT}")
    if kind == "cell":
        _check_numbers("timing", record["timing"], TIMING)
        for name, values in record["metrics"].items():
            _check_numbers(f"metric {name}", values, METRIC)
    return record


def _check_numbers(what: str, values: Any, names: Sequence[str]) -> None:
    if not isinstance(values, dict) or sorted(values) != sorted(names):
        raise OptionError(f"{what} has the numbers {', '.join(names)}, got {shown(values)}")
    for name, value in values.items():
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
            raise OptionError(f"{what}: {name} is a finite number, got {shown(value)}")
