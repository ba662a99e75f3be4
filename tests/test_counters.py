"""Two uses of noise never share a draw number."""

from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from torchdiff.counters import (
    AREA,
    BROWNIAN,
    FORWARD,
    LANGEVIN,
    LAYOUT,
    PATHS,
    PRIOR,
    STEP,
    TICKS,
    USER,
    area_number,
    draw_number,
    node_number,
)

WIDTHS = {"purpose": 3, "step": 49, "part": 3, "call": 5, "block": 4}
USES = st.fixed_dictionaries({name: st.integers(0, 2**width - 1) for name, width in WIDTHS.items()})


@given(USES, USES)
def test_different_uses_have_different_draws(a, b):
    """draw_number is injective: equal numbers, equal uses."""
    assert (draw_number(**a) == draw_number(**b)) == (a == b)


@given(USES, st.sampled_from(sorted(WIDTHS)), st.integers(1, 2**49))
def test_one_field_is_enough_to_differ(use, name, change):
    """Changing any one field, by any amount, changes the number: fields do not overlap."""
    other = {**use, name: (use[name] + change) % 2 ** WIDTHS[name]}
    assert (draw_number(**other) != draw_number(**use)) == (other != use)


def test_fields_tile_the_number():
    """The layout leaves no bit out and uses none twice; the step, which may outgrow 32 bits, stands on top."""
    bits = [low + k for low, width in LAYOUT.values() for k in range(width)]
    assert sorted(bits) == list(range(64))
    assert max(LAYOUT, key=lambda name: LAYOUT[name][0]) == "step"
    assert {name: width for name, (_, width) in LAYOUT.items()} == WIDTHS


def test_purposes_differ():
    """Steps, the prior, Brownian paths and their areas, users and chains draw from different numbers."""
    assert len(set(map(draw_number, (STEP, PRIOR, BROWNIAN, USER, FORWARD, LANGEVIN, AREA)))) == 7


@pytest.mark.parametrize("name", WIDTHS)
@pytest.mark.parametrize("value", ["below", "above"])
def test_fields_outside_their_width_are_named(name, value):
    """A field that would spill into its neighbour raises ValueError with its name and value."""
    bad = -1 if value == "below" else 2 ** WIDTHS[name]
    with pytest.raises(ValueError, match=rf"{name} must lie in .*got {bad}"):
        draw_number(**{"purpose": STEP, name: bad})
    assert draw_number(**{"purpose": STEP, name: 2 ** WIDTHS[name] - 1}) >= 0


NODES = st.fixed_dictionaries(
    {"path": st.integers(0, PATHS - 1), "node": st.integers(0, TICKS - 1), "which": st.integers(0, 1)}
)


@given(NODES, NODES, USES)
def test_nodes_of_brownian_paths_have_draws_of_their_own(a, b, use):
    """node_number is injective, and no other purpose reaches its numbers."""
    assert (node_number(**a) == node_number(**b)) == (a == b)
    if use["purpose"] != BROWNIAN:
        assert node_number(**a) != draw_number(**use)


@pytest.mark.parametrize(("name", "bound"), [("path", PATHS), ("node", TICKS), ("which", 2)])
def test_nodes_outside_their_fields_are_named(name, bound):
    """A path, node or kind that would spill into its neighbour raises ValueError with its name and value."""
    for bad in (-1, bound):
        with pytest.raises(ValueError, match=rf"{name} must lie in .*got {bad}"):
            node_number(**{"path": 0, "node": 0, "which": 0, name: bad})


def test_areas_of_brownian_paths_have_draws_of_their_own():
    """area_number is injective: on all intervals between ticks at both ends and in the middle, of three paths."""
    ticks = [at + k for at in (0, TICKS // 2, TICKS - 4) for k in range(5)]
    uses = [(path, a, b) for path in (0, 1, PATHS - 1) for a, b in combinations(ticks, 2)]
    assert len({area_number(*use) for use in uses}) == len(uses)


@given(st.integers(0, PATHS - 1), st.integers(0, TICKS - 1), st.integers(1, TICKS), USES)
def test_no_other_purpose_reaches_the_draw_of_an_area(path, start, length, use):
    """area_number has its purpose in the place where draw_number has it."""
    if use["purpose"] != AREA:
        assert area_number(path, start, min(start + length, TICKS)) != draw_number(**use)


@pytest.mark.parametrize("bad", [(-1, 0, 1), (PATHS, 0, 1), (0, -1, 1), (0, 1, 1), (0, 2, 1), (0, 0, TICKS + 1)])
def test_what_is_no_interval_has_no_area(bad):
    """Paths outside their field and intervals that are empty, turned round or beyond the clock raise ValueError."""
    with pytest.raises(ValueError, match=f"got {bad[0]}, {bad[1]} and {bad[2]}"):
        area_number(*bad)
