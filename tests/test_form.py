"""A Form is the list of its weights: exact for + - and * by a number, a TypeError for all else."""

import operator

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from torchdiff.form import Form

NUMBERS = st.integers(-64, 64).map(lambda k: k / 8)  # eighths: every sum and product below is exact in float64
FORMS = st.dictionaries(st.integers(-4, 4), NUMBERS.filter(bool)).map(Form)
X, Z = Form.column(3), Form.column(~7)


def value(form, point):
    """The form as what it stands for: the weighted sum of the columns' values."""
    return sum(weight * point[key] for key, weight in form.terms.items())


@given(FORMS, FORMS, NUMBERS, st.lists(NUMBERS, min_size=9, max_size=9))
def test_forms_are_linear(a, b, number, values):
    """The value of a sum, difference, multiple or negative is that of its parts."""
    point = dict(zip(range(-4, 5), values, strict=True))
    assert value(a + b, point) == value(a, point) + value(b, point)
    assert value(a - b, point) == value(a, point) - value(b, point)
    assert value(number * a, point) == number * value(a, point) == value(a * number, point)
    assert value(-a, point) == -value(a, point)
    assert value((a + b) * number, point) == value(a * number + b * number, point)
    assert value(a / 4, point) == value(a, point) / 4


@given(FORMS, FORMS, NUMBERS)
def test_zero_weights_vanish(a, b, number):
    """No form keeps a weight that is exactly 0: what is not read is not a column."""
    results = [a + b, a - b, a - a, a * number, number * a, a * 0, -a, a / 8, a.substitute({0: b, 1: a * 0})]
    assert all(weight != 0.0 for form in results for weight in form.terms.values())
    assert (a - a).terms == {}
    assert (a * 0.0).terms == {}
    assert (Form({1: 1e-300}) * 1e-300).terms == {}  # underflow


@given(FORMS)
def test_zero_is_neutral(form):
    """sum() starts with 0, and the score of an undriven block is 0: adding that number changes nothing."""
    assert sum([form, form]).terms == (2 * form).terms
    assert (form + 0).terms == (form - 0.0).terms == (0 + form).terms == form.terms
    assert (0 - form).terms == (-form).terms


REFUSED = {
    "Form + number": lambda: X + 1,
    "number - Form": lambda: 1.0 - X,
    "Form + tensor": lambda: X + torch.zeros(2),
    "tensor + Form": lambda: torch.zeros(2) + X,
    "Form + array": lambda: X + np.zeros(2),
    "array + Form": lambda: np.zeros(2) + X,
    "Form * Form": lambda: X * X,
    "Form * tensor": lambda: X * torch.ones(2),
    "tensor * Form": lambda: torch.ones(2) * X,
    "array * Form": lambda: np.ones(2) * X,
    "Form * None": lambda: X * None,
    "Form / Form": lambda: X / X,
    "Form / tensor": lambda: X / torch.ones(2),
    "number / Form": lambda: 1.0 / X,
    "Form ** 2": lambda: X**2,
    "abs": lambda: abs(X),
    "float": lambda: float(X),
    "<": lambda: X < X,
}


@pytest.mark.parametrize("formula", REFUSED.values(), ids=REFUSED)
def test_only_affine_formulas_run(formula):
    """All that is not + and - of forms, or * and / by a number, is a TypeError: a formula cannot be traced wrongly."""
    with pytest.raises(TypeError):
        formula()


def test_the_error_shows_the_way_out():
    """A product with a tensor says which class such a solver derives from."""
    with pytest.raises(TypeError, match=r"derives from Solver"):
        X * torch.ones(2)


def test_numpy_scalars_are_numbers():
    """np.float64 is a float from either side, and the result a Form."""
    for form in (np.float64(2.0) * X, X * np.float64(2.0)):
        assert type(form) is Form
        assert form.terms == {3: 2.0}


@pytest.mark.parametrize("number", [3.0, 10.0, 49.0, 0.1, 1e-310])
def test_division_is_division(number):
    """Form / number has the weight 1 / number rounded once, as a tensor would; times number, over number, is 1."""
    assert (X / number).terms == {3: 1.0 / number}
    assert (X * number / number).single == 3


def test_single_is_one_live_column():
    """Only weight exactly 1 on one live tensor is that tensor; a multiple, a sum and a draw are not."""
    assert X.single == 3
    assert (X * 0.5 + X * 0.5).single == 3
    assert (X + Z - Z).single == 3
    assert [form.single for form in (2 * X, X + Form.column(4), Z, Form())] == [None] * 4
    assert [form.noisy for form in (X, X + Z, Z, X + Z - Z)] == [False, True, True, False]


@given(FORMS, FORMS, FORMS, st.lists(NUMBERS, min_size=9, max_size=9))
def test_substitution_is_composition(form, first, second, values):
    """Replacing columns by forms and then taking the value is taking the value at the values of those forms."""
    point = dict(zip(range(-4, 5), values, strict=True))
    changed = {**point, 0: value(first, point), 2: value(second, point)}
    assert value(form.substitute({0: first, 2: second}), point) == value(form, changed)
    untouched = Form({5: 1.0, -9: 2.0})
    assert untouched.substitute({0: first}) is untouched


def test_forms_are_not_changed_in_place():
    """Every operation makes a new form: a formula may use x again after any of them."""
    a, b = Form({0: 1.0, 1: 2.0}), Form({1: -2.0, ~3: 4.0})
    for operate in (operator.add, operator.sub):
        operate(a, b)
    (2 * a, -a, a / 3, a.substitute({0: b}))
    assert (a.terms, b.terms) == ({0: 1.0, 1: 2.0}, {1: -2.0, ~3: 4.0})
