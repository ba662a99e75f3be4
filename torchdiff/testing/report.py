"""What a check found: each law with what was measured beside what was declared or allowed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from torchdiff.aligned import aligned
from torchdiff.errors import LawError

OK, FAILED, SKIPPED = "ok", "FAILED", "not measured"


class Finding(NamedTuple):
    """One law in one case. status: "ok", "FAILED", or "not measured", whose note says why."""

    law: str
    case: str
    measured: str
    declared: str
    status: str
    note: str = ""


# what a law yields: a Finding that has no name of a law yet
Found = tuple[str, str, str, str, str]
Laws = Sequence[tuple[str, Callable[[], Iterable[Found]]]]
See = Callable[[str, "Finding | None"], None]  # (law, None) as it begins, (law, finding) for each thing it found


def unseen(law: str, finding: Finding | None) -> None:
    """Nobody watches."""


def held(case: str, measured: Any, declared: Any, good: bool, note: str = "") -> Found:
    """A law that was measured; the note is shown where it fails."""
    return case, _text(measured), _text(declared), OK if good else FAILED, "" if good else note


def skipped(why: str, case: str = "") -> Found:
    """A law that could not be measured, and why."""
    return case, "", "", SKIPPED, f"because {why}"


def _text(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


@dataclass(frozen=True, repr=False)
class Report:
    """The findings of a check, in order. `assert report` fails where a law does; str(report) is a table."""

    kind: str
    subject: str
    findings: tuple[Finding, ...]

    @property
    def ok(self) -> bool:
        """Whether no law failed. A law that was not measured did not fail: `skipped` has those."""
        return not self.failed

    @property
    def failed(self) -> tuple[str, ...]:
        """The names of the laws that failed, each once."""
        return tuple(dict.fromkeys(f.law for f in self.findings if f.status == FAILED))

    @property
    def skipped(self) -> tuple[str, ...]:
        """The names of the laws that were not measured in some case, each once."""
        return tuple(dict.fromkeys(f.law for f in self.findings if f.status == SKIPPED))

    def raise_if_failed(self) -> Report:
        """This report. Raises LawError with the table of what failed."""
        if not self.ok:
            raise LawError(repr(self))
        return self

    def __bool__(self) -> bool:
        return self.ok

    def __str__(self) -> str:
        return self._table(self.findings)

    def __repr__(self) -> str:
        return self._table([f for f in self.findings if f.status == FAILED])

    def _table(self, findings: Iterable[Finding]) -> str:
        findings = list(_merged(findings))
        rows = [("", "law", "measured", "declared", "case")]
        rows += [(f.status, f.law, f.measured, f.declared, f.case) for f in findings]
        notes = ["", *(f.note for f in findings)]
        lines = [line + (f"  ({note})" if note else "") for line, note in zip(aligned(rows), notes, strict=True)]
        laws = len({f.law for f in self.findings})
        what = f"{len(self.failed)} of {laws} laws fail: {', '.join(self.failed)}" if self.failed else "no law fails"
        rest = f"; not measured in every case: {', '.join(self.skipped)}" if self.skipped else ""
        return "\n".join([*(lines if len(lines) > 1 else []), f"{self.kind} {self.subject}: {what}{rest}"])

    def facts(self) -> dict[str, Any]:
        """The report as what JSON can hold."""
        findings = [f._asdict() for f in self.findings]
        return {"kind": self.kind, "subject": self.subject, "ok": self.ok, "failed": self.failed, "findings": findings}


def _merged(findings: Iterable[Finding]) -> Iterator[Finding]:
    """Findings of one law that differ in their case alone, as one."""
    cases: dict[Finding, list[str]] = {}
    for finding in findings:
        cases.setdefault(finding._replace(case=""), []).append(finding.case)
    for finding, names in cases.items():
        yield finding._replace(case=", ".join(dict.fromkeys(filter(None, names))))


def examine(laws: Laws, see: See) -> Iterator[Finding]:
    """Every law in turn. What a law raises, an exit too, is a failure of that law; the next one runs all the same."""
    for name, law in laws:
        see(name, None)
        for found in caught(law):
            finding = Finding(name, *found)
            see(name, finding)
            yield finding


def caught(law: Callable[[], Iterable[Found]], case: str = "") -> Iterator[Found]:
    """What a law finds; what it raises is found too, as a failure in this case."""
    try:
        yield from law()
    except (Exception, SystemExit) as error:  # not KeyboardInterrupt: that is the user's
        text = " ".join(str(error).split())
        yield case, type(error).__name__, "no error", FAILED, text if len(text) <= 300 else text[:297] + "..."
