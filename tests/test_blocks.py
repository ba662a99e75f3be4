"""Mat is matrix algebra, Blocks are vectors of carriers, and a zero weight reads nothing."""

import math
import operator

import numpy as np
import pytest
import torch

from torchdiff.blocks import Blocks, Mat

EPS = 2.0**-52
SIZES = pytest.mark.parametrize("n", [1, 2, 3, 4])


def matrices(n, count=2, seed=0):
    return [Mat(m) for m in np.random.default_rng([seed, n]).standard_normal((count, n, n)).tolist()]


@SIZES
def test_mat_is_numpy(n):
    """Sum, difference, multiple, negative, transpose and diagonal are numpy's, bit for bit: one rounding each."""
    a, b = matrices(n)
    assert np.array_equal(a + b, np.array(a) + np.array(b))
    assert np.array_equal(a - b, np.array(a) - np.array(b))
    assert np.array_equal(a * 0.3, np.array(a) * 0.3)
    assert np.array_equal(0.3 * a, np.array(a) * 0.3)
    assert np.array_equal(-a, -np.array(a))
    assert np.array_equal(a.T, np.array(a).T)
    assert np.array_equal(Mat.diag(*a[0]), np.diag(a[0]))
    assert all(type(v) is Mat for v in (a + b, a - b, a * 2, 2 * a, -a, a.T, a @ b, Mat.diag(1.0)))


@SIZES
def test_mat_products_are_numpy(n):
    """Mat @ Mat and Mat @ Blocks are matrix products, of floats and of tensors."""
    a, b = matrices(n)
    # n products and their sum: n roundings of terms that are at most |a| |b|
    bound = n * EPS * (np.abs(a) @ np.abs(b))
    assert (np.abs(np.array(a @ b) - np.array(a) @ np.array(b)) <= bound).all()
    vector = Blocks(np.array(b)[:, 0].tolist())
    assert (np.abs(np.array(a @ vector) - np.array(a) @ np.array(b)[:, 0]) <= bound[:, 0]).all()
    rows = torch.tensor(b, dtype=torch.float64)  # block i is the tensor rows[i]
    product = torch.stack(tuple(a @ Blocks(rows)))
    assert (np.abs(product.numpy() - np.array(a) @ np.array(b)) <= bound).all()


def test_one_block_is_the_bare_carrier():
    """A 1 x 1 Mat acts on the carrier itself, and gives one; a larger one refuses a bare carrier."""
    x = torch.arange(3.0)
    assert torch.equal(Mat([[2.5]]) @ x, 2.5 * x)
    assert Mat([[2.5]]) @ 2.0 == 5.0
    with pytest.raises(TypeError, match="Blocks of 2"):
        Mat.diag(1.0, 1.0) @ x
    with pytest.raises(ValueError, match="zip"):
        Mat.diag(1.0, 1.0) @ Blocks((x, x, x))


def test_a_zero_weight_reads_nothing():
    """A block with weight 0 may hold nan and is not touched: it is another matter than 0 * nan."""
    good, bad = torch.ones(3), torch.full((3,), math.nan)
    drift = Mat([[0.0, 2.0], [0.0, -3.0]])
    top, bottom = drift @ Blocks((bad, good))
    assert torch.equal(top, 2.0 * good)
    assert torch.equal(bottom, -3.0 * good)
    nothing = Mat([[0.0, 0.0], [0.0, 1.0]]) @ Blocks((good, good))
    assert torch.equal(nothing[0], torch.zeros(3))


@SIZES
def test_cholesky_is_the_lower_factor(n):
    """L is lower triangular with a positive diagonal, and L L^T the matrix."""
    (a,) = matrices(n, 1)
    cov = a @ a.T
    low = np.array(cov.cholesky())
    assert np.array_equal(low, np.tril(low))
    assert (np.diag(low) > 0).all()
    # backward stability of Cholesky: (n + 1) eps of the diagonal
    spread = np.sqrt(np.diag(np.array(cov)))
    assert (np.abs(low @ low.T - np.array(cov)) <= 4 * (n + 1) * EPS * np.outer(spread, spread)).all()


@pytest.mark.parametrize("matrix", [[[0.0]], [[0, 0], [0, 4]], [[1, 2], [2, 4]], [[4, 0, 6], [0, 0, 0], [6, 0, 9]]])
def test_cholesky_of_a_semi_definite_matrix(matrix):
    """A zero pivot, as of noise that drives only one block, gives a zero column; the product is still the matrix."""
    low = np.array(Mat(matrix).cholesky())
    assert np.array_equal(low @ low.T, matrix)  # small integers: exact
    assert all(not column.any() for column, pivot in zip(low.T, np.diag(low), strict=True) if pivot == 0.0)


@SIZES
def test_solve_is_the_inverse_times(n):
    """a.solve(b) is a^-1 b, with pivots: a leading zero is no obstacle."""
    a, b = matrices(n)
    found = np.array(a.solve(b))
    # Gauss elimination with row pivots: the condition number times a few eps n
    bound = 8 * n * EPS * np.linalg.cond(np.array(a)) * np.abs(found).max()
    assert np.abs(found - np.linalg.solve(np.array(a), np.array(b))).max() <= bound
    assert Mat([[0.0, 2.0], [4.0, 0.0]]).solve(Mat.diag(1.0, 1.0)) == ((0.0, 0.25), (0.5, 0.0))


def test_solve_refuses_a_singular_matrix():
    """No inverse, no number: ZeroDivisionError."""
    with pytest.raises(ZeroDivisionError):
        Mat([[1.0, 2.0], [2.0, 4.0]]).solve(Mat.diag(1.0, 1.0))


def test_blocks_are_vectors():
    """Blocks add, subtract and scale carrier by carrier, never as the tuples that they are."""
    a, b = Blocks((torch.ones(2), torch.tensor([2.0, 4.0]))), Blocks((torch.tensor([1.0, 3.0]), torch.zeros(2)))
    cases = {
        (a + b): ([2.0, 4.0], [2.0, 4.0]),
        (a - b): ([0.0, -2.0], [2.0, 4.0]),
        (2 * a): ([2.0, 2.0], [4.0, 8.0]),
        (a * 0.5): ([0.5, 0.5], [1.0, 2.0]),
        (a / 4): ([0.25, 0.25], [0.5, 1.0]),
        (-a): ([-1.0, -1.0], [-2.0, -4.0]),
    }
    for result, wanted in cases.items():
        assert type(result) is Blocks
        assert [part.tolist() for part in result] == list(wanted)


@pytest.mark.parametrize("combine", [operator.add, operator.sub])
@pytest.mark.parametrize("other", [1.0, Blocks((1.0,)), Blocks((1.0, 2.0, 3.0)), (1.0, 2.0, 3.0), [1.0, 2.0]])
def test_blocks_refuse_what_has_not_as_many(combine, other):
    """Another number of blocks, a list or a bare number is a TypeError: nothing is broadcast or concatenated."""
    with pytest.raises(TypeError):
        combine(Blocks((1.0, 2.0)), other)


def test_a_tuple_in_front_is_not_concatenated():
    """(a, b) + Blocks is the sum or an error, not a tuple of four."""
    assert operator.add((1.0, 2.0), Blocks((3.0, 4.0))) == Blocks((4.0, 6.0))
    for front in ((1.0,), (1.0, 2.0, 3.0), 1.0):
        with pytest.raises(TypeError):
            operator.add(front, Blocks((3.0, 4.0)))
