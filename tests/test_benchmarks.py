"""What of `make bench` is arithmetic and text: paired ratios, bars, losses. Nothing is timed."""

from __future__ import annotations

import gc

import pytest

from benchmarks import paired, report
from benchmarks.paired import Spread


def row(case="a case", ratio=2.0, **options):
    options = {"against": "eager", "unit": "s", "ours": 1e-3, "theirs": 2e-3, "rounds": 9} | options
    return report.Row(case, ratio=Spread(0.9 * ratio, ratio, 1.2 * ratio), **options)


def test_a_ratio_is_the_median_over_pairs():
    """A machine that slows down for some rounds leaves it alone, though it moves the medians of both sides."""
    rounds = [(slow, 3.0 * slow) for slow in (1.0, 1.0, 10.0, 10.0, 10.0)] + [(1.0, 30.0), (1.0, 0.1)]
    found = paired.summary(rounds)
    assert found.ratio == Spread(3.0, 3.0, 3.0)
    assert (found.theirs, found.ours, found.rounds) == (30.0, 1.0, 7)  # the ratio of the medians would be 30


def test_quartiles_lie_between_the_values():
    assert paired.spread([4.0, 1.0, 3.0, 2.0, 5.0]) == Spread(2.0, 3.0, 4.0)
    assert paired.spread([7.0]) == Spread(7.0, 7.0, 7.0)
    with pytest.raises(ValueError, match="at least one round"):
        paired.spread([])


def test_sides_take_turns():
    """A B A B ... after a warm-up each, which counts for nothing; no garbage collection during, and again after."""
    order = []

    def clock(name, first, later):
        def run():
            order.append(name)
            if order.count(name) == 1:
                return first
            assert not gc.isenabled()
            return later

        return run

    found = paired.compare(clock("a", 100.0, 1.0), clock("b", 1.0, 4.0), seconds=0.0, least=3)
    assert "".join(order) == "ab" + "ab" * 3
    assert found == paired.Pairs(1.0, 4.0, Spread(4.0, 4.0, 4.0), 3)
    assert gc.isenabled()


def test_a_slope_leaves_out_what_is_paid_once(monkeypatch):
    """A run of 5 seconds and 0.25 a step has the slope 0.25."""
    now = [0.0]
    monkeypatch.setattr(paired, "perf_counter", lambda: now[0])

    def run(steps):
        now[0] += 5.0 + 0.25 * steps

    assert paired.Slope(run, short=8, long=24)() == 0.25


def test_a_bar_counts_both_ends():
    """The ratio must reach `least` and our own figure stay within `most`; without a bar nothing is met or missed."""
    assert row().met is None
    assert row(least=2.0).met is True
    assert row(least=2.1).met is False
    assert row(least=2.0, most=0.9e-3).met is False
    assert row(least=2.0, most=1e-3).met is True
    assert row(least=12.0, most=12e-6).bar == ">= 12 and <= 12.0 us"


def test_every_loss_is_told():
    """A row below 1 is listed, the worst first, unless theirs is a limit; whether the quartiles reach 1 is said."""
    rows = [row("won"), row("near", 0.9), row("lost", 0.25, unit="B"), row("limit", 0.8, rival=False, least=0.9)]
    assert report.losses(rows) == [
        "lost: eager is 4 times smaller",
        "near: eager is 1.11 times faster (1 lies within the quartiles)",
    ]
    assert report.misses(rows) == ["limit, against eager: 0.8 and 1.00 ms; bar >= 0.9"]


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (1.5, "s", "1.50 s"),
        (0.9996, "s", "1.00 s"),
        (99.96e-3, "s", "100 ms"),
        (12e-6, "s", "12.0 us"),
        (5e-10, "s", "0.500 ns"),
        (64 * 2**20, "B", "64.0 MiB"),
        (1023, "B", "1023 B"),
    ],
)
def test_quantities_have_three_digits(value, unit, text):
    assert report.quantity(value, unit) == text


def test_the_document_holds_what_was_found():
    """Facts, rows, what did not run, losses and remarks, in this order; a bar | in a cell does not end it."""
    rows = [row("x | y", 0.5, least=2.0), row("the same", 1.0, against="itself", rival=False)]
    text = report.document({"CPU": "one"}, rows, ["gone: no peer"], "## Remarks\n\nWhy.\n")
    places = [
        text.index(part) for part in ("- CPU: one", "| the same |", "x \\| y", "- gone: no peer", "Where we lose")
    ]
    assert places == sorted(places)
    assert "| 0.5 [0.45, 0.6] | >= 2 | **no** |" in text
    assert text.endswith("## Remarks\n\nWhy.\n")
    assert "Not measured" not in report.document({}, rows, [], "")
