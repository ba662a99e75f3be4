"""Imports only point downwards, and a plan is made without torch."""

import ast
import subprocess
import sys
from fnmatch import fnmatchcase
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import torchdiff

ROOT = Path(torchdiff.__file__).parent

# From the ground up. A module imports from the lines above its own, never from its own or from below. A package's own
# name is its __init__; a pattern serves all that no other pattern names in full.
LAYERS = (
    ("_C", "errors", "blocks", "form", "counters", "limits", "progress", "recent", "aligned"),
    ("spec", "amounts", "ticks", "clocks", "storage", "arrays"),
    ("options", "plugins", "interop.torchsde_methods"),
    ("registry", "sde.base", "ops", "ops.*", "energy"),
    ("calling", "levy"),
    ("conventions", "conventions.*", "latent"),
    ("sde.linear_beta", "sde.spline", "sde.numeric"),
    ("sde.moments",),
    ("sde.*", "denoiser", "noise", "draws", "areas", "guard", "adaptive"),
    ("predict", "interop", "interop.torchsde", "interop.torchsde_steps", "general", "grids", "grids.*"),
    ("jacobians",),
    ("sde",),
    ("solvers.base", "solvers.tableaus", "solvers.quadrature"),
    ("solvers.exponential", "solvers.ratio", "solvers.probability_flow", "solvers.whitened"),
    ("intervals", "solvers.multistep", "solvers.scalar"),
    ("solvers.*",),
    ("solvers", "drive"),
    ("steps",),
    ("plan_text", "split"),
    ("plans",),
    ("record", "execute"),
    ("trace",),
    ("gaussian", "gaussian.*"),
    ("spectra", "spectra.*"),
    ("auto", "tune.cache", "tune.coordinate", "tune.descent", "tune.objective", "tune.search"),
    ("planner",),
    ("analysis_text", "tune.front_text"),
    ("analysis", "tune", "tune.*"),
    ("remembered",),
    ("fitness",),
    ("inputs", "wrapping"),
    ("interop.diffusers", "guidance", "guidance.*"),
    ("strides", "asking"),
    ("program",),
    ("walk", "mcmc"),
    ("run", "sampler"),
    ("brownian", "wiener", "equations"),
    ("reversal", "schemes"),
    ("simulation",),
    ("sampling", "formats", "zoo", "zoo.*"),
    ("pictures",),
    ("testing", "testing.*", "targets", "targets.*"),
    ("metrics", "metrics.*"),
    ("torchdiff",),  # the face: all but the registries is imported on first use
    ("doctor", "bench", "bench.*"),
    ("cli", "cli.*"),
    ("__main__",),
)
# Within these, modules may import each other, in any order that has no circle.
ROOMS = (
    *("ops", "zoo", "testing", "cli", "conventions", "grids", "guidance", "targets", "metrics", "gaussian", "spectra"),
    *("tune", "bench"),
)
# The solvers that are made of another one.
SIDEWAYS = {("solvers.denoise", "solvers.euler_maruyama"), ("solvers.chain", "solvers.ddim")}


def modules():
    """name -> source of every module, without the leading `torchdiff.`; the face is `torchdiff`."""
    found = {}
    for path in ROOT.rglob("*.py"):
        parts = path.relative_to(ROOT).with_suffix("").parts
        parts = parts[:-1] if parts[-1] == "__init__" else parts
        found[".".join(parts) or "torchdiff"] = path
    return found


MODULES = modules()


def layer(name):
    """Place of a module in LAYERS; a full name is found before a pattern. None if it has no place."""
    for match in (str.__eq__, fnmatchcase):
        for place, patterns in enumerate(LAYERS):
            if any(match(name, pattern) for pattern in patterns):
                return place
    return None


def statements(node):
    """Every node below, but for what only a type checker runs."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
            for other in child.orelse:
                yield other
                yield from statements(other)
        else:
            yield child
            yield from statements(child)


def imported(source, name):
    """What a source imports, in functions too: our modules without `torchdiff.`, and the first names of others."""
    package = ["torchdiff", *name.split(".")] if name != "torchdiff" else ["torchdiff"]
    if MODULES.get(name, ROOT / "x").name != "__init__.py":
        package = package[:-1]
    found = set()
    for node in statements(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) + 1 - node.level] if node.level else []
            base = ".".join([*above, *([node.module] if node.module else [])])
            for alias in node.names:
                whole = f"{base}.{alias.name}".removeprefix("torchdiff.")
                found.add(f"torchdiff.{whole}" if whole in MODULES or whole == "_C" else base)
    ours = {target.removeprefix("torchdiff.") for target in found if target.split(".")[0] == "torchdiff"}
    return ours, {target.split(".")[0] for target in found} - {"torchdiff"}


def may_import(name, target):
    room = name.split(".")[0]
    if (name, target) in SIDEWAYS or (room in ROOMS and room == target.split(".")[0]):
        return True
    return layer(target) is not None and layer(target) < layer(name)


def test_every_module_has_a_layer():
    """A new module is put into the table of layers above, where what it may import is decided."""
    lost = sorted(name for name in MODULES if layer(name) is None)
    assert not lost, f"give {', '.join(lost)} a place in LAYERS of tests/test_imports.py"


@pytest.mark.parametrize("name", sorted(MODULES))
def test_imports_point_downwards(name):
    """A module imports only from lower layers; what is needed for types alone stands under TYPE_CHECKING."""
    ours, _ = imported(MODULES[name].read_text(), name)
    wrong = sorted(target for target in ours if not may_import(name, target))
    assert not wrong, f"torchdiff.{name} imports {', '.join(wrong)}: not below it in LAYERS"


def test_imports_have_no_circle():
    """Not within a room either."""
    graph = {name: imported(path.read_text(), name)[0] for name, path in MODULES.items()}
    order = list(TopologicalSorter(graph).static_order())  # raises CycleError with the circle
    assert set(MODULES) <= set(order)


@pytest.mark.parametrize(
    ("source", "name", "wrong"),
    [
        ("from torchdiff.plans import Plan", "solvers.ddim", "plans"),
        ("def f():\n    import torchdiff.trace", "plans", "trace"),
        ("from torchdiff import sampling", "planner", "sampling"),
        ("from torchdiff import plan", "sampling", "torchdiff"),
        ("from .dpmpp import DPMpp2M", "solvers.ddim", "solvers.dpmpp"),
        ("from ..solvers import base", "sde.vp", "solvers.base"),
        ("from . import dpmpp", "solvers.chain", "solvers.dpmpp"),
        ("if TYPE_CHECKING:\n    pass\nelse:\n    from torchdiff.sde.cld import CLD", "sde.vp", "sde.cld"),
    ],
)
def test_an_upward_import_is_found(source, name, wrong):
    """The control: absolute, relative, late and sideways imports are all seen."""
    ours, _ = imported(source, name)
    assert ours == {wrong}
    assert not may_import(name, wrong)


def test_imports_for_types_are_free():
    """What stands under TYPE_CHECKING never runs and may point anywhere."""
    assert imported("if TYPE_CHECKING:\n    from torchdiff.plans import Plan", "sde.vp") == (set(), set())


# these stand in the same layers as what works on floats, and work on arrays
WITH_TORCH = (
    *("ops", "ops.*", "noise", "draws", "guard", "adaptive", "general", "jacobians", "interop.torchsde"),
    *("gaussian", "gaussian.*", "spectra", "spectra.*", "tune.*"),
    *("calling", "energy", "latent", "areas", "interop.torchsde_steps", "arrays"),
)
# processes given by a user's functions, and quantiles: SciPy is loaded when they are first asked for a number; and the
# steps of cld_exp on blocks, each a system of 16 unknowns or more
WITH_SCIPY = ("sde.numeric", "sde.moments", "sde.matrix", "solvers.whitened", "grids.quantiles")


@pytest.mark.parametrize("name", sorted(n for n in MODULES if (layer(n) or 0) <= layer("planner")))
def test_coefficients_are_floats(name):
    """No module from which plans are made imports torch or numpy, not even late: coefficients are Python floats."""
    if not any(fnmatchcase(name, pattern) for pattern in WITH_TORCH):
        _, others = imported(MODULES[name].read_text(), name)
        assert not others & ({"torch"} if name in WITH_SCIPY else {"torch", "numpy", "scipy"})


def test_a_plan_needs_no_torch():
    """Listing, planning and printing a plan load neither torch nor numpy: `torchdiff list` starts in an instant."""
    program = """
import sys
import torchdiff, torchdiff.sde, torchdiff.solvers, torchdiff.grids, torchdiff.form, torchdiff.trace, torchdiff.planner
names = torchdiff.list_sdes() + torchdiff.list_solvers() + torchdiff.list_grids()
assert {"vp", "cld", "ddim", "karras"} <= set(names), names
for sde, solver in (("vp", "dpmpp_2m"), ("cld", "sscs"), ("flow", "ode"), ("ddpm", "dpmpp_2m"), ("cosine", "ddim")):
    str(torchdiff.plan(sde, solver, steps=5))
    torchdiff.plan(sde, solver, steps=5).to_json()
loaded = {"torch", "numpy", "scipy"} & set(sys.modules)
assert not loaded, loaded
"""
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=60)
    assert run.returncode == 0, run.stderr
