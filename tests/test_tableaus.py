"""Runge-Kutta and Adams methods by their algebra, in rationals."""

from __future__ import annotations

import functools
import math
from fractions import Fraction
from types import SimpleNamespace

import pytest

from torchdiff import get_sde, get_solver
from torchdiff.solvers import Carry, Span
from torchdiff.solvers.adams import EVEN
from torchdiff.solvers.quadrature import lagrange, legendre
from torchdiff.solvers.tableaus import TABLEAUS


@functools.cache
def trees(order):
    """The rooted trees of so many nodes: a tree is the sorted tuple of its branches."""
    if order == 1:
        return ((),)
    found = set()
    for first in range(1, order):
        for branch in trees(first):
            for rest in trees(order - first):
                found.add(tuple(sorted((*rest, branch))))
    return tuple(sorted(found))


def size(tree):
    return 1 + sum(map(size, tree))


def density(tree):
    return size(tree) * math.prod(map(density, tree))


def stages(tableau, tree):
    """What a tree says at each stage: the product over its branches of sum_j a_ij (branch at stage j)."""
    branches = [stages(tableau, branch) for branch in tree]
    sums = [
        [sum((a * v for a, v in zip(row, values, strict=False)), Fraction(0)) for values in branches]
        for row in tableau.rows
    ]
    return [math.prod(row, start=Fraction(1)) for row in sums]


def defects(tableau, order):
    """sum_i b_i (tree at stage i) - 1 / density, for every tree of that order."""
    return [
        sum((b * v for b, v in zip(tableau.weights, stages(tableau, tree), strict=True)), Fraction(0))
        - Fraction(1, density(tree))
        for tree in trees(order)
    ]


def test_there_are_as_many_trees_as_there_should_be():
    """1, 1, 2, 4, 9, 20: Cayley's numbers (Hairer, Norsett & Wanner 1993, table II.2.1)."""
    assert [len(trees(order)) for order in range(1, 7)] == [1, 1, 2, 4, 9, 20]


@pytest.mark.parametrize("name", TABLEAUS)
def test_tableau_has_its_order_and_no_more(name):
    """Butcher's conditions hold exactly for every tree up to the declared order, and not all of those above it do."""
    tableau = TABLEAUS[name]
    for order in range(1, tableau.order + 1):
        assert set(defects(tableau, order)) == {0}
    assert set(defects(tableau, tableau.order + 1)) != {0}


@pytest.mark.parametrize("name", TABLEAUS)
def test_tableau_is_explicit_and_as_long_as_its_weights(name):
    """Row i has i entries, so that stage i knows only those before it; nodes lie in [0, 1]."""
    tableau = TABLEAUS[name]
    assert [len(row) for row in tableau.rows] == list(range(len(tableau.weights)))
    assert all(0 <= node <= 1 for node in tableau.nodes)


def times(left, right):
    out = [Fraction(0)] * (len(left) + len(right) - 1)
    for i, a in enumerate(left):
        for j, b in enumerate(right):
            out[i + j] += a * b
    return out


def shares(nodes, start, end):
    """int L_j over [start, end], exactly, for the Lagrange polynomials of these nodes."""
    found = []
    for j, node in enumerate(nodes):
        poly = [Fraction(1)]
        for i, other in enumerate(nodes):
            if i != j:
                poly = times(poly, [-other / (node - other), 1 / (node - other)])
        found.append(sum(c * (end ** (k + 1) - start ** (k + 1)) / (k + 1) for k, c in enumerate(poly)))
    return found


@pytest.mark.parametrize("count", EVEN)
def test_even_adams_weights_are_the_rationals(count):
    """Nodes 0, -1, ... and a step of 1: each float is the nearest to its fraction."""
    exact = shares([Fraction(-i) for i in range(count)], Fraction(0), Fraction(1))
    assert EVEN[count] == tuple(float(share) for share in exact)


GRID = [Fraction(n, 64) for n in (60, 49, 43, 30, 25)]  # uneven, and exact in binary


@pytest.mark.parametrize("count", [1, 2, 3, 4])
@pytest.mark.parametrize(("solver", "sde", "slope"), [("adams", "vp", "velocity"), ("lms", "edm", "eps")])
def test_adams_weights_on_an_uneven_grid_are_the_rationals(solver, sde, slope, count):
    """adams in t, and lms in sigma, which is t on edm: a step along one slope at a time, the others 0."""
    process, method = get_sde(sde), get_solver(solver, order=count)
    levels = [process.level(float(t)) for t in GRID]
    exact = shares(GRID[:4][::-1][:count], GRID[3], GRID[4])
    for j in range(count):
        values = [float(i == j) for i in range(4)]
        past = tuple(zip(levels[:3][::-1], values[1:], strict=True))
        told = SimpleNamespace(**{slope: values[0]})
        moved = method.step(0.0, Span(process, tuple(levels), 3, past), lambda x, level, told=told: told, None)
        moved = moved.x if isinstance(moved, Carry) else moved  # one slope is nothing to remember
        assert moved == pytest.approx(float(exact[j]), abs=1e-15)  # sums of products that are below 1


@pytest.mark.parametrize("count", [1, 2, 3, 4, 8, 24, 32])
def test_gauss_legendre_is_exact_to_twice_its_points(count):
    """x^k on [0, 1] for k < 2 n, and not for k = 2 n while a float can tell."""
    for k in range(2 * count + 1):
        found = math.fsum(weight * at**k for at, weight in legendre(count))
        if k < 2 * count:
            assert found == pytest.approx(1.0 / (k + 1), rel=4e-15)  # points and weights to a few ulp, k times
        elif count <= 8:
            assert abs(found * (k + 1) - 1.0) > 1e-9


def test_lagrange_polynomials_are_one_at_their_place_and_zero_at_the_others():
    """And add up to 1 elsewhere."""
    places = (0.3, -1.0, 2.5, 0.7)
    for j in range(4):
        assert [lagrange(places, j, place) for place in places] == [float(i == j) for i in range(4)]
    assert sum(lagrange(places, j, 1.1) for j in range(4)) == pytest.approx(1.0, abs=1e-15)
