"""Draw numbers: which normals a formula asks for, as one integer. No torch here: plans carry draw numbers too."""

from __future__ import annotations

STEP, PRIOR, BROWNIAN, USER, FORWARD, LANGEVIN, AREA = range(7)  # the purposes

# field: (lowest bit, width). The step stands on top: what does not fit in 32 bits advances the key instead.
LAYOUT = {"block": (0, 4), "call": (4, 5), "part": (9, 3), "purpose": (12, 3), "step": (15, 49)}


def draw_number(purpose: int, step: int = 0, part: int = 0, call: int = 0, block: int = 0) -> int:
    """The draw number of one use of noise: no two uses share one.

    purpose: STEP, PRIOR, BROWNIAN, USER, FORWARD for a simulation forward in time, LANGEVIN for chains on their own, or
    AREA for the Levy areas of a Brownian path. step: interval of the grid, or the step of a chain.
    part: place in a chain of solvers.
    call: the how manieth normal of this part in this step. block: block of the state.
    Raises ValueError for a field outside its width (8 parts, 32 calls, 16 blocks, 2^49 steps).
    """
    fields = {"block": block, "call": call, "part": part, "purpose": purpose, "step": step}
    number = 0
    for name, value in fields.items():
        low, width = LAYOUT[name]
        if not 0 <= value < 1 << width:
            raise ValueError(f"draw_number: {name} must lie in [0, {1 << width}), got {value!r}")
        number |= value << low
    return number


def block_of(draw: int) -> int:
    """The block of the state that a step's draw is for."""
    low, width = LAYOUT["block"]
    return draw >> low & (1 << width) - 1


# The tree of a Brownian path: times are multiples of horizon / TICKS, a node splits each cell above them.
DEPTH = 24
TICKS = 1 << DEPTH
PATHS = 1 << LAYOUT["purpose"][0]
FORWARD_PATH = 1 << LAYOUT["block"][1]  # path of the first block in a run forward; in one backward it is path 0


def node_number(path: int, node: int, which: int) -> int:
    """The draw number of one normal of a Brownian path: no two nodes of no two paths share one.

    path: in [0, 4096), in the low 12 bits, where the draws of a step have part, call and block. node: 0 for the root's
    own increment (which = 0) and area (which = 1); 2^level + index for what splits the cell `index` of that level, by Z
    and by N. 2 node + which stands in the step's place.
    Raises ValueError for a field outside its width.
    """
    fields = {"path": (path, PATHS), "node": (node, TICKS), "which": (which, 2)}
    for name, (value, bound) in fields.items():
        if not 0 <= value < bound:
            raise ValueError(f"node_number: {name} must lie in [0, {bound}), got {value!r}")
    return draw_number(BROWNIAN, step=2 * node + which) | path


def area_number(path: int, start: int, end: int) -> int:
    """The draw number of the normals of the Levy areas of a Brownian path between two ticks, start < end.

    path: as in node_number. No two intervals of no two paths share one: start 2^24 + end - 1 stands in the step's
    place.
    Raises ValueError for what is no such interval.
    """
    if not 0 <= path < PATHS or not 0 <= start < end <= TICKS:
        raise ValueError(
            f"area_number: path must lie in [0, {PATHS}) and 0 <= start < end <= {TICKS}, got {path!r}, {start!r} and "
            f"{end!r}"
        )
    return draw_number(AREA, step=start * TICKS + end - 1) | path
