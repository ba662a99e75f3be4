"""The package that `torchdiff plugins new` writes. examples/plugin is what it writes for the name "example"."""

from __future__ import annotations

# {name}: of the SDE, the solver and the package; {Name}: of the classes; {api}: of torchdiff.plugins
FILES = {
    "pyproject.toml": """\
[build-system]
requires = ["setuptools>=77"]
build-backend = "setuptools.build_meta"

[project]
name = "torchdiff-{name}"
version = "0.1.0"
description = "An SDE and a solver for torchdiff"
requires-python = ">=3.10"
dependencies = ["torchdiff-sde"]

[project.optional-dependencies]
test = ["pytest>=8"]

# name = "module:Class"; torchdiff reads this table, and loads the module when somebody asks for the name
[project.entry-points."torchdiff.sdes"]
{name} = "torchdiff_{name}.sde:{Name}SDE"

[project.entry-points."torchdiff.solvers"]
{name} = "torchdiff_{name}.solver:{Name}Solver"

[tool.setuptools.packages.find]
where = ["src"]
""",
    "README.md": """\
# torchdiff-{name}

An SDE and a solver for torchdiff, in a package of their own.

    pip install -e .
    torchdiff plugins list
    torchdiff check torchdiff_{name}.sde:{Name}SDE
    torchdiff check torchdiff_{name}.solver:{Name}Solver
    torchdiff plan {name} {name} --steps 10

In Python they are names like any other: `torchdiff.sample(net, "{name}", "{name}:ratio=0.5", steps=10, ...)`.
The tests are torchdiff's own laws: `pip install -e '.[test]'`, then `pytest`.

The formulas in `src/torchdiff_{name}/` are there to be replaced: `sde.py` is the square-root noise schedule of
Diffusion-LM, `solver.py` is DPM-Solver-2. Keep the frozen dataclasses, whose fields are the options; say where a
formula is from; declare the order that it has, which the tests measure.
""",
    "src/torchdiff_{name}/__init__.py": """\
\"\"\"An SDE and a solver for torchdiff; each is loaded when its name is asked for.\"\"\"
""",
    "src/torchdiff_{name}/sde.py": """\
\"\"\"The square-root noise schedule.\"\"\"

import math
from dataclasses import dataclass

from torchdiff import ScalarSDE


@dataclass(frozen=True)
class {Name}SDE(ScalarSDE):
    \"\"\"Variance-preserving process whose noise rises at once.

        alpha(t)^2 = 1 - sqrt(t),   sigma(t)^2 = sqrt(t),   t in [0, t_max], data at t = 0

    t is dimensionless; alpha and sigma scale data of unit variance.
    Raises OptionError unless 0 <= t_min < t_max < 1, and for t outside [0, t_max].
    Source: Li et al. 2022, arXiv:2205.14217, appendix A, with s = 0 (their alpha-bar is alpha**2).
    \"\"\"

    t_min: float = 1e-4
    t_max: float = 0.999
    torchdiff_api = {api}  # without an annotation: no option

    def __post_init__(self):
        self.check_range()

    def alpha(self, t):
        return math.sqrt(1.0 - math.sqrt(t))

    def sigma(self, t):
        return t**0.25

    def rates(self, t):
        \"\"\"alpha' and sigma': drift, diffusion, transition and the probability flow follow from them.\"\"\"
        return -0.25 / (math.sqrt(t) * self.alpha(t)), 0.25 * t**-0.75

    def at(self, half_log_snr):
        \"\"\"The level of a log(alpha / sigma). The base class finds it by bisection; this is faster.\"\"\"
        variance = 1.0 / (1.0 + math.exp(2.0 * half_log_snr))  # sigma^2
        return self.level(self.settle(variance**2, half_log_snr))
""",
    "src/torchdiff_{name}/solver.py": """\
\"\"\"A solver of second order with two network calls a step.\"\"\"

import math
from dataclasses import dataclass
from typing import ClassVar

from torchdiff import AffineSolver, ScalarSDE


@dataclass(frozen=True)
class {Name}Solver(AffineSolver):
    \"\"\"DPM-Solver-2: the exponential midpoint method in log-SNR on the noise prediction.

        u     = alpha_mid / alpha_cur x - sigma_mid (e^{{r h}} - 1) eps(x, cur)
        x_nxt = alpha_nxt / alpha_cur x - sigma_nxt (e^h - 1) (eps_cur + (eps(u, mid) - eps_cur) / 2r)

    h is the rise of log(alpha / sigma); mid is the level at a fraction r = ratio of it.
    Raises ValueError for a ratio outside (0, 1).
    Source: Lu et al. 2022, arXiv:2206.00927, algorithm 1, which has r = 1/2.
    \"\"\"

    ratio: float = 0.5
    weak_order: ClassVar[float] = 2.0
    calls: ClassVar[int] = 2
    accepts: ClassVar[type] = ScalarSDE
    torchdiff_api = {api}

    def __post_init__(self):
        if not 0.0 < self.ratio < 1.0:
            raise ValueError(f"{name}: ratio must lie in (0, 1), got {{self.ratio!r}}")

    @property
    def deterministic(self):
        return True

    def step(self, x, span, predict, noise):
        cur, nxt, r = span.cur, span.nxt, self.ratio
        h = nxt.half_log_snr - cur.half_log_snr
        mid = span.sde.at(cur.half_log_snr + r * h)
        eps = predict(x, cur).eps
        u = mid.alpha / cur.alpha * x - mid.sigma * math.expm1(r * h) * eps
        change = predict(u, mid).eps - eps
        return nxt.alpha / cur.alpha * x - nxt.sigma * math.expm1(h) * (eps + 0.5 / r * change)
""",
    "tests/test_{name}.py": """\
\"\"\"torchdiff's own laws, for what this package adds.\"\"\"

from torchdiff.testing import check_sde, check_solver

from torchdiff_{name}.sde import {Name}SDE
from torchdiff_{name}.solver import {Name}Solver


def test_the_process_obeys_its_laws():
    \"\"\"Transitions compose, drift and noise match the marginals, and all else that torchdiff.testing knows.\"\"\"
    assert check_sde({Name}SDE())


def test_the_solver_obeys_its_laws():
    \"\"\"Its order is the declared one, its plan is the formula, and all else that torchdiff.testing knows.\"\"\"
    assert check_solver({Name}Solver())


def test_it_runs_on_the_process_of_this_package():
    \"\"\"With another ratio too; fewer steps are enough for a glance at its order.\"\"\"
    assert check_solver({Name}Solver(ratio=0.3), sdes=[{Name}SDE()], finest=1024)
""",
}


def files(name: str, api: int) -> dict[str, str]:
    """{path: text} of the package for a name."""
    words = {"name": name, "Name": "".join(part.capitalize() for part in name.split("_")), "api": api}
    return {path.format(**words): text.format(**words) for path, text in FILES.items()}
