"""Plugins from outside: a package that is installed and used, one that is written, and what is said of all of them."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import torchdiff
from torchdiff.cli import main
from torchdiff.cli.plugins import API, files

ROOT = Path(torchdiff.__file__).parents[1]
EXAMPLE = ROOT / "examples" / "plugin"


def run(*command: str, cwd: Path, path: tuple[Path, ...] = ()) -> str:
    """What another process prints, with our code and `path` in front."""
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, (*path, ROOT))), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_example_is_what_new_writes():
    """examples/plugin stands in the repository to be read; it is written by `torchdiff plugins new example`."""
    written = {str(p.relative_to(EXAMPLE)): p.read_text() for p in EXAMPLE.rglob("*") if _source(p)}
    assert written == files("example", API)


def _source(path: Path) -> bool:
    return path.is_file() and not {"__pycache__", ".pytest_cache", "build"} & set(path.parts) and "egg" not in str(path)


def test_a_new_package_passes_its_own_tests(tmp_path, monkeypatch, capsys):
    """What `torchdiff plugins new` writes is whole: its tests, which are torchdiff's laws, pass as they are."""
    monkeypatch.chdir(tmp_path)
    assert main(["plugins", "new", "swift_one", "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    folder = tmp_path / facts["folder"]
    assert sorted(facts["files"]) == sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file())
    out = run(sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", cwd=folder, path=(folder / "src",))
    assert "3 passed" in out


USE = """
import sys, torch, torchdiff
assert "torchdiff_example" not in sys.modules
assert "example" in torchdiff.list_sdes() and "example" in torchdiff.list_solvers()
assert "torchdiff_example" not in sys.modules  # listing loads nothing
sde, solver = torchdiff.get_sde("example:t_min=0.001"), torchdiff.get_solver("example:ratio=0.3")
assert torchdiff.registry.SDES.spec(sde) == "example:t_min=0.001"
net = lambda x, t: 0.1 * x
a = torchdiff.sample(net, "example", "example:ratio=0.3", steps=4, shape=(2, 3), prediction="eps", seed=1)
assert torchdiff.Plan.from_json(a.plan.to_json()) == a.plan
assert "torchdiff_example" in sys.modules["torchdiff_example.sde"].__file__
"""


def use(python: str, place: Path, path: tuple[Path, ...] = ()) -> None:
    """The installed example by name, from Python and from the command line."""
    (place / "toy_net.py").write_text("def make(): return lambda x, t: 0.1 * x\n")
    command = [python, "-m", "torchdiff"]
    run(python, "-c", USE, cwd=place, path=path)
    rows = json.loads(run(*command, "list", "--json", cwd=place, path=path))
    assert {r["kind"] for r in rows if r["source"] == "plugin of torchdiff-example 0.1.0"} == {"sde", "solver"}
    listed = json.loads(run(*command, "plugins", "--json", cwd=place, path=path))
    ours = [row for row in listed if row["distribution"] == "torchdiff-example 0.1.0"]
    assert sorted((row["kind"], row["name"], row["status"]) for row in ours) == [
        ("sde", "example", "ok"),
        ("solver", "example", "ok"),
    ]
    plan = run(*command, "plan", "example", "example:ratio=0.3", "--steps", "3", cwd=place, path=path)
    assert "example:ratio=0.3 on example, eps network: 3 steps and a final one, 7 network calls" in plan
    flags = ["--net", "toy_net:make", "--sde", "example", "--solver", "example", "--shape", "2,3", "--steps", "3"]
    run(*command, "sample", *flags, "--prediction", "eps", "--out", "x.safetensors", cwd=place, path=path)
    assert (place / "x.safetensors").stat().st_size > 0


def installed(place: Path, python: str, *options: str) -> None:
    """pip install of the example without any network, as a user would but for what is here already."""
    source = shutil.copytree(EXAMPLE, place / "source")  # setuptools leaves its folders beside the sources
    flags = ["--no-deps", "--no-index", "--no-build-isolation", "--disable-pip-version-check", "--quiet"]
    run(sys.executable, "-m", "pip", "--python", python, "install", *flags, *options, str(source), cwd=place)


def test_the_example_installs_and_is_used_by_name(tmp_path):
    """Into a folder that a fresh interpreter has on its path: metadata, entry points and code as pip leaves them."""
    site = tmp_path / "site"
    installed(tmp_path, sys.executable, "--target", str(site))
    use(sys.executable, tmp_path, (site,))


@pytest.mark.slow
def test_the_example_installs_into_a_fresh_environment(tmp_path):
    """Into a virtual environment that has torch by a path to ours, and nothing else of it."""
    import venv

    import torch

    venv.create(tmp_path / "env", with_pip=False)
    python = str(tmp_path / "env" / ("Scripts" if os.name == "nt" else "bin") / "python")
    (site,) = (tmp_path / "env").rglob("site-packages")
    (site / "ours.pth").write_text(str(Path(torch.__file__).parents[1]))
    installed(tmp_path, python)
    use(python, tmp_path)


# --- new ---


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("Swift", "lower-case letters.*'Swift'"),
        ("2fast", "lower-case letters"),
        ("a-b", "lower-case letters"),
        ("../up", "lower-case letters"),
        ("class", "no word of Python"),
        ("vp", r"sde 'vp' is there already \(built-in\)"),
        ("ddim", r"solver 'ddim' is there already \(built-in\)"),
        ("karras", "grid 'karras' is there already"),
    ],
)
def test_new_refuses_a_name_that_cannot_be_one(tmp_path, monkeypatch, capsys, name, message):
    """Nothing is written for a name that is no lower-case identifier, a word of Python, or taken."""
    monkeypatch.chdir(tmp_path)
    assert main(["plugins", "new", name]) == 2
    assert re.search(message, capsys.readouterr().err)
    assert not any(tmp_path.iterdir())


def test_new_writes_into_an_empty_folder_and_no_other(tmp_path, monkeypatch, capsys):
    """A folder with anything in it, or a file in its place, is left as it is."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "notes").write_text("mine")
    (tmp_path / "file").write_text("mine")
    for folder, message in (("full", "is not empty"), ("file", "is a file")):
        assert main(["plugins", "new", "swift", "--folder", folder]) == 2
        assert message in capsys.readouterr().err
    assert [p.name for p in (tmp_path / "full").iterdir()] == ["notes"]
    (tmp_path / "empty").mkdir()
    assert main(["plugins", "new", "swift", "--folder", "empty"]) == 0
    assert (tmp_path / "empty" / "pyproject.toml").is_file()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["empty", "file", "full"]


def test_new_writes_all_or_nothing(tmp_path, monkeypatch, capsys):
    """A disk that is full at the fourth file leaves no folder and no half of one."""
    monkeypatch.chdir(tmp_path)
    write, count = Path.write_text, iter(range(100))

    def full(self, *arguments, **more):
        if next(count) == 3:
            raise OSError(28, "No space left on device")
        return write(self, *arguments, **more)

    monkeypatch.setattr(Path, "write_text", full)
    assert main(["plugins", "new", "swift"]) == 2
    assert "torchdiff-swift cannot be written: [Errno 28] No space left" in capsys.readouterr().err
    assert not any(tmp_path.iterdir())


# --- list ---


@pytest.fixture
def site(tmp_path, monkeypatch):
    """site(distribution, entry points, {module: code}): as pip leaves it, for this process and for others."""

    def add(distribution: str, points: str, modules: dict[str, str] | None = None) -> None:
        info = tmp_path / f"{distribution}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(points)
        for name, code in (modules or {}).items():
            (tmp_path / f"{name}.py").write_text(code)

    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), str(ROOT)]))
    monkeypatch.delenv("TORCHDIFF_PLUGINS", raising=False)
    return add


def listed(capsys, *flags: str) -> tuple[int, dict[str, tuple[str, str]]]:
    code = main(["plugins", "list", "--json", *flags])
    rows = json.loads(capsys.readouterr().out)
    return code, {f"{r['distribution'].split()[0]}/{r['name'].split('/')[-1]}": (r["status"], r["why"]) for r in rows}


def test_the_list_says_what_is_wrong_without_loading_anything(site, capsys, monkeypatch):
    """Rivals, bad metadata and what is turned off, each by its name; exit code 1 where something is wrong."""
    site("drums", "[torchdiff.solvers]\ndrum = plug_no:Drum\nddim = plug_no:Drum\n")
    code, found = listed(capsys)
    assert code == 0
    assert found["drums/drum"] == ("ok", "")
    assert found["drums/ddim"] == ("ok", "the bare name is also that of a built-in")
    site("shop", "[torchdiff.solvers]\ndrum = plug_no:Drum\nDRUM = plug_no:Drum\n")
    monkeypatch.syspath_prepend(str(ROOT))  # another sys.path: metadata is read again
    code, found = listed(capsys)
    assert code == 1
    assert found["drums/drum"] == ("wrong", "the bare name is also that of plugin 'drum' (plug_no:Drum) of shop 1.0")
    assert found["shop/DRUM"][0] == "wrong"
    assert "plug_no" not in sys.modules
    monkeypatch.setenv("TORCHDIFF_PLUGINS", "drums")
    _, found = listed(capsys)
    assert found["drums/drum"] == ("ok", "")
    assert found["shop/drum"] == ("off", "TORCHDIFF_PLUGINS does not let it in")
    assert main(["plugins", "list"]) == 1
    assert "plug_no:Drum" in capsys.readouterr().out


def test_load_tries_each_in_a_process_of_its_own(site, capsys, monkeypatch):
    """What fails, exits, dies or hangs at its import is told with the cause; the list itself goes on."""
    good = "from torchdiff.solvers import DDIM\nclass Drum(DDIM): pass\n"
    codes = {"good": good, "fails": "1 / 0", "dies": "import os; os._exit(5)", "hangs": "import time; time.sleep(3600)"}
    points = "".join(f"{name} = plug_{name}:Drum\n" for name in codes)
    site("drums", f"[torchdiff.solvers]\n{points}", {f"plug_{name}": code for name, code in codes.items()})
    monkeypatch.setattr("torchdiff.cli.plugins.LOAD_SECONDS", 5.0)
    code, found = listed(capsys, "--load")
    assert code == 1
    assert found["drums/good"] == ("ok", "loads")
    assert found["drums/fails"][0] == "wrong"
    assert "of drums 1.0 does not load: ZeroDivisionError" in found["drums/fails"][1]
    assert "ended the process with exit code 5" in found["drums/dies"][1]
    assert found["drums/hangs"] == ("wrong", "its import still runs after 5 s")
