"""`torchdiff analyze` and `torchdiff tune`: what they print, and one line for what they refuse."""

from __future__ import annotations

import json

import numpy as np
import pytest

import torchdiff
from torchdiff.cli import main


def said(capsys, *words):
    """(exit code, stdout, stderr) of the command."""
    code = main(words)
    out = capsys.readouterr()
    return code, out.out, out.err


def test_analyze_prints_a_table_and_json(capsys):
    """A row for each number of steps, the same numbers as the function."""
    code, text, _ = said(capsys, "analyze", "vp", "dpmpp_2m", "--steps", "5,10", "--grid", "karras:rho=5")
    assert code == 0
    assert text == f"{torchdiff.analyze('vp', 'dpmpp_2m', steps=(5, 10), grid='karras:rho=5')}\n"
    assert "grid karras:rho=5.0" in text
    code, text, _ = said(capsys, "analyze", "cld", "sscs", "--calls", "4,8", "--final", "t_min", "--json")
    assert code == 0
    assert [row["calls"] for row in json.loads(text)["rows"]] == [4, 8]
    code, text, _ = said(capsys, "analyze", "vp", "ddim", "--spectrum", "digits")
    assert [line.split()[0] for line in text.splitlines()[5:9]] == ["5", "10", "20", "50"]


def test_tune_ends_with_one_recommendation(capsys, tmp_path):
    """The last line says what to take; --export writes its times or sigmas, which plan takes."""
    words = ("tune", "vp", "--solvers", "ddim,unipc:order=3,variant=bh1,dpmpp_2*", "--calls", "4,6", "--spectrum")
    data = tmp_path / "x.npy"
    np.save(data, np.random.default_rng(0).normal(size=(20, 6)))
    code, text, _ = said(capsys, *words, str(data), "--export", str(tmp_path / "t.json"))
    assert code == 0
    lines = text.splitlines()
    assert lines[-2].startswith("take ")
    assert lines[-1] == f"its times -> {tmp_path / 't.json'}"
    times = json.loads((tmp_path / "t.json").read_text())
    assert torchdiff.plan("vp", "ddim", times=times).steps == len(times) - 1
    code, text, _ = said(
        capsys, *words, "power:count=4", "--grids", "log_snr,karras:rho=5", "--budget", "5", "--json", "--export",
        str(tmp_path / "s.txt"), "--as", "sigmas",
    )  # fmt: skip
    assert code == 0
    best = json.loads(text)["best"]
    assert best["calls"] <= 5
    sigmas = [float(line) for line in (tmp_path / "s.txt").read_text().split()]
    assert len(sigmas) == len(best["times"])


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("analyze", "vp"), "required: solver"),
        (("analyze", "vp", "ddim", "--steps", ""), "expected a whole number"),
        (("analyze", "vp", "ddim", "--steps", "5,-1"), "expected a whole number"),
        (("analyze", "vp", "ddim", "--steps", "nan"), "expected a whole number"),
        (("analyze", "vp", "ddim", "--steps", "9" * 30), "expected a whole number"),
        (("analyze", "vp", "ddim", "--steps", "5", "--calls", "5"), "not allowed with"),
        (("analyze", "vp", "ddim", "--spectrum", "ünïcode"), "unknown spectrum"),
        (("analyze", "vp", "ddim", "--spectrum", "../../none.npy"), "cannot be read"),
        (("analyze", "vp", "rk45"), "needs sampling"),
        (("analyze", "vp", "ddim", "--t-min", "inf"), "finite number"),
        (("tune", "vp", "--quality", "0"), "above 0"),
        (("tune", "vp", "--quality", "1", "--budget", "3"), "not allowed with"),
        (("tune", "vp", "--budget", "-3"), "expected a whole number"),
        (("tune", "vp", "--solvers", "ddim,,heun"), "names between commas"),
        (("tune", "vp", "--solvers", "a:b=(c"), "unbalanced"),
        (("tune", "vp", "--solvers", "nobody"), "unknown solver"),
        (("tune", "vp", "--as", "times"), "give --export"),
        (("tune", "cld", "--export", "x.txt", "--as", "sigmas"), "no such number"),
        (("tune", "vp", "--export", "x.csv"), "should end in"),
    ],
)
def test_wrong_requests_are_one_line(capsys, words, message, tmp_path, monkeypatch):
    """Exit code 2, one line that says what came and what would do; nothing is printed or written."""
    monkeypatch.chdir(tmp_path)
    code, out, err = said(capsys, *words)
    assert (code, out) == (2, "")
    assert message in err
    assert err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []
