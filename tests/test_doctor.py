"""Laws of the doctor: it tells what runs and why, finds what is wrong with a way out, and changes nothing."""

from __future__ import annotations

import json
import shutil
from importlib import metadata
from pathlib import Path

import pytest
import torch

import torchdiff
from torchdiff import doctor, ops, plugins
from torchdiff.cli import main
from torchdiff.doctor import Check, examine

FOLDER = Path(torchdiff.__file__).parent


def finding(name: str) -> Check:
    return next(check for check in examine() if check.name == name)


@pytest.fixture
def site(tmp_path, monkeypatch):
    """site(distribution, version, files): as pip leaves it, in front of the real installation."""

    def add(distribution: str, version: str, files: dict[str, str]) -> None:
        info = tmp_path / f"{distribution.replace('-', '_')}-{version}.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: {version}\n")
        for name, text in files.items():
            (info / name).write_text(text)

    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delenv("TORCHDIFF_PLUGINS", raising=False)
    return add


def editable(folder: Path) -> dict[str, str]:
    return {"direct_url.json": json.dumps({"url": folder.as_uri(), "dir_info": {"editable": True}})}


def test_the_report_and_the_exit_code_agree(capsys):
    """Exit code 1 exactly if a check is wrong; text and JSON hold the same checks."""
    code = main(["doctor", "--json"])
    report = json.loads(capsys.readouterr().out)
    assert code == (0 if report["healthy"] else 1)
    assert report["healthy"] is not any(check["status"] == "wrong" for check in report["checks"])
    assert main(["doctor"]) == code
    text = capsys.readouterr().out
    for check in report["checks"]:
        assert check["name"] in text
        assert check["value"] in text
    assert {"python", "torchdiff-sde", "torch", "backend", "noise"} <= {check["name"] for check in report["checks"]}


def test_the_backend_is_the_one_that_runs():
    """Its name and its reason are those of torchdiff.ops.backend()."""
    found, told = ops.backend(), finding("backend")
    assert told.value.startswith(found.name)
    if found.name == "extension":
        assert str(found.build["compiler"]) in told.value
    else:
        assert found.reason in told.value


@pytest.mark.parametrize(("switch", "status"), [("", "wrong"), ("0", "wrong"), ("1", "note")])
def test_an_extension_that_does_not_load_is_wrong_unless_it_was_turned_off(monkeypatch, switch, status):
    """There is a file torchdiff._C, yet plain torch runs: wrong, unless TORCHDIFF_NO_EXT asked for it."""
    monkeypatch.setenv("TORCHDIFF_NO_EXT", switch)
    monkeypatch.setattr(ops, "backend", lambda: ops.Backend("python", "torchdiff._C does not load: no symbol", (), {}))
    monkeypatch.setattr(doctor.importlib.util, "find_spec", lambda name: name)
    told = finding("backend")
    assert (told.status, bool(told.fix)) == (status, status == "wrong")
    assert "does not load: no symbol" in told.value


def test_noise_that_differs_from_the_reference_is_wrong(monkeypatch):
    """One wrong bit in what runs is found."""
    real = ops.affine
    monkeypatch.setattr(ops, "affine", lambda *args: [x.nextafter(torch.tensor(9.0)) for x in real(*args)])
    assert finding("noise").status == "wrong"
    monkeypatch.undo()
    assert finding("noise").status == "ok"


def test_the_namesake_is_noticed_with_the_way_out(site):
    """A distribution called torchdiff is another project in the same folder; ours is torchdiff-sde."""
    assert "namesake" not in [check.name for check in examine()]
    site("torchdiff", "3.1", {})
    told = finding("namesake")
    assert told.status == "wrong"
    assert "3.1" in told.value
    assert "uninstall torchdiff torchdiff-sde" in told.fix
    assert "pip install torchdiff" not in str(told)
    assert main(["doctor"]) == 1


def test_the_installed_package_is_the_imported_one(site, tmp_path):
    """Editable here: ok. Another version, or another folder, is wrong and both are named."""
    site("torchdiff-sde", torchdiff.__version__, editable(FOLDER.parent))
    told = finding("torchdiff-sde")
    assert (told.status, told.value) == ("ok", f"{torchdiff.__version__} in {FOLDER}")
    shutil.rmtree(next(tmp_path.glob("*.dist-info")))
    site("torchdiff-sde", "9.9", editable(FOLDER.parent))
    assert finding("torchdiff-sde").status == "wrong"
    assert "9.9" in finding("torchdiff-sde").value
    shutil.rmtree(next(tmp_path.glob("*.dist-info")))
    site("torchdiff-sde", torchdiff.__version__, editable(tmp_path))
    told = finding("torchdiff-sde")
    assert told.status == "wrong"
    assert str(tmp_path / "torchdiff") in told.value
    assert str(FOLDER) in told.value


def test_a_source_tree_that_is_not_installed_is_a_note(monkeypatch):
    """It works, and how to install it is told."""

    def missing(name):
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(doctor.metadata, "distribution", missing)
    told = finding("torchdiff-sde")
    assert told.status == "note"
    assert told.fix.endswith(str(FOLDER.parent))


def test_plugins_are_told_from_metadata(site, monkeypatch):
    """Allowed, turned off, or torn: each is a line, and none is loaded."""
    points = "[torchdiff.solvers]\nfine = no_such_module:Fine\nBAD = no_such_module:Bad\n"
    site("drums", "1.0", {"entry_points.txt": points})
    told = {check.value.split("'")[1]: check for check in examine() if check.name == "plugin"}
    assert (told["fine"].status, told["BAD"].status) == ("ok", "wrong")
    assert "drums 1.0" in told["fine"].value
    monkeypatch.setenv("TORCHDIFF_PLUGINS", "0")
    assert "turned off" in next(check.value for check in examine() if "'fine'" in check.value)


def test_an_old_or_missing_torch_is_wrong(monkeypatch):
    """Older than 2.10, whose weights_only loading is not safe, or none at all."""
    monkeypatch.setattr(torch, "__version__", "2.9.1+cpu")
    assert finding("torch").status == "wrong"
    monkeypatch.setattr(torch, "__version__", "2.10.0a0+git")
    assert finding("torch").status == "ok"
    monkeypatch.setattr(doctor.importlib.util, "find_spec", lambda name: None)
    assert finding("torch").value == "not installed"


def test_a_check_that_fails_is_a_finding(monkeypatch):
    """The doctor never dies of what it looks at."""

    def broken() -> list:
        raise RuntimeError("torn metadata")

    monkeypatch.setattr(doctor, "installed", broken)
    assert finding("plugins").value == "RuntimeError: torn metadata"
    assert plugins.installed is not broken
