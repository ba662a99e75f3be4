"""Laws of the bench: calls are counted, equal solvers tie, equal questions have equal answers."""

from __future__ import annotations

import json
import math
import re
import time
from html.parser import HTMLParser

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import torchdiff
from torchdiff import bench
from torchdiff.bench.cells import FIELDS, check, parse
from torchdiff.bench.colours import INK, SOFT
from torchdiff.bench.contenders import Scene
from torchdiff.bench.entrants import contender
from torchdiff.bench.meter import Meter
from torchdiff.bench.reports import page
from torchdiff.bench.specs import listed, split
from torchdiff.bench.style import STYLE
from torchdiff.bench.summary import budgets, contenders, score
from torchdiff.errors import IncompatibleError, NetworkError, OptionError, StorageError, UnknownNameError
from torchdiff.registry import SOLVERS
from torchdiff.solvers.base import fitting

# 60 samples and 8 directions: a cell in 30 ms
SMALL = {"target": "gmm2d", "count": 60, "seeds": 0, "metrics": "sliced_w2:directions=8"}


def answers(cells: bench.Cells) -> list[dict]:
    """All records without what may differ between two runs."""
    return [{k: v for k, v in r.items() if k != "timing"} for r in parse(cells.text(), "text")]


@pytest.fixture(scope="module")
def cells() -> bench.Cells:
    """Two equal solvers, one that blows up, one that cannot run, and one of another library, with two seeds."""
    wish = SMALL | {"seeds": (0, 1), "calls": (5, 9)}
    return bench.run(solvers="ddim,dpmpp_1,heun,sscs,diffusers:DDIMScheduler:timestep_spacing=trailing", **wish)


# --- counting and timing ---


@pytest.mark.parametrize(("sde", "solver"), [(s, n) for s in ("vp", "cld") for n in fitting(torchdiff.get_sde(s))])
def test_counted_calls_are_those_of_the_plan(sde, solver):
    """What the meter counts around the network is what the plan promises, a row a sample, for every solver."""
    meter, process = Meter(), torchdiff.get_sde(sde)
    net = meter.around(torchdiff.get_target("gmm2d").denoiser(process))
    one = contender(solver)
    scene = Scene(process, net, (2,), lambda first, count: {}, torch.float32, torch.device("cpu"))
    if solver == "torchsde":
        pytest.importorskip("torchsde")
    ready = one.ready(scene, "steps", 3, None)
    one.sample(scene, ready, seed=0, first=0, count=2)
    assert meter.calls == ready.calls if ready.calls is not None else meter.calls > 3
    assert meter.rows == 2 * meter.calls
    assert meter.seconds > 0.0


@pytest.mark.parametrize(
    "spec",
    [
        *("diffusers:DPMSolverMultistepScheduler", "diffusers:HeunDiscreteScheduler", "diffusers:DDPMScheduler"),
        *("azula:DDIMSampler", "azula:HeunSampler", "azula:zEABSampler:order=2"),
    ],
)
def test_calls_of_other_libraries_are_counted(spec):
    """A rival calls the network as often as it promises, and never more than it may; its samples are finite."""
    pytest.importorskip(spec.partition(":")[0])
    meter, process = Meter(), torchdiff.get_sde("vp")
    net = meter.around(torchdiff.get_target("gmm2d").denoiser(process))
    one = contender(spec)
    scene = Scene(process, net, (2,), lambda first, count: {}, torch.float32, torch.device("cpu"))
    ready = one.ready(scene, "calls", 8, None)
    _, finite = one.sample(scene, ready, seed=0, first=0, count=2)
    assert finite.all()
    assert meter.calls == ready.calls
    assert ready.calls in (7, 8)  # Heun's steps cost two calls, the last of diffusers' one


def test_a_doubled_batch_is_two_rows_a_sample():
    """Guidance asks for both conditions in one call: one call, two rows a sample."""
    meter = Meter()
    net = torchdiff.wrap(lambda x, t, label: x * label.reshape(-1, 1).to(x), "eps")
    guided = torchdiff.guide(net, 2.0, null={"label": 0})
    out = torchdiff.sample(
        meter.around(guided), "vp", "ddim", steps=3, shape=(5, 2), seed=0, cond={"label": torch.arange(5)}
    )
    assert (meter.calls, meter.rows) == (out.plan.calls, 2 * 5 * out.plan.calls)


def test_a_slow_network_is_not_the_updates_fault():
    """5 calls of 20 ms: 100 ms are the network's, and the rest of the run is far less than that. Parts add up."""

    def net(x, t):
        time.sleep(0.02)
        return x

    real = torch.randn(200, 2, generator=torch.Generator().manual_seed(0))
    found = bench.run(net=net, prediction="x0", data=real, solvers="ddim", calls=5, **_without("target"))
    timing = found[0]["timing"]
    assert timing["network"] >= 0.1
    # 90 ms: a busy machine; the update itself takes 1
    assert timing["update"] < 0.09
    assert timing["network"] + timing["update"] <= timing["whole"] + 1e-12  # microseconds in binary


def _without(*names: str, **more):
    return {k: v for k, v in (SMALL | more).items() if k not in names}


# --- equal questions, equal answers ---


def test_the_same_question_has_the_same_answer(cells):
    """Two runs agree in every record but for the timing block, comparisons included."""
    again = bench.run(
        solvers="ddim,dpmpp_1,heun,sscs,diffusers:DDIMScheduler:timestep_spacing=trailing",
        **SMALL | {"seeds": (0, 1), "calls": (5, 9)},
    )
    assert answers(again) == answers(cells)


def test_batches_change_nothing():
    """Samples 40 to 59 in a batch of their own are the same: noise is of (seed, index)."""
    one, two = (bench.run(solvers="ddim,ddpm", calls=5, batch=batch, **SMALL) for batch in (60, 20))
    for a, b in zip(one, two, strict=True):
        assert a["metrics"] == b["metrics"]
        assert (a["calls"], a["rows"]) == (b["calls"], b["rows"])


def test_seeds_are_different_runs(cells):
    """The control: another seed is another set of samples."""
    ddim = [c["metrics"]["sliced_w2:directions=8"]["value"] for c in cells if c["solver"] == "ddim" and c["asked"] == 5]
    assert len(set(ddim)) == 2


def test_rivals_start_from_the_same_noise():
    """DDIM of diffusers on its trailing timesteps is ours on grid trailing: one network, one noise, its float32 table.

    On ddpm, whose table theirs is, with 5 steps: where 1000 is no multiple of them, theirs go to other times than they
    say. 1e-3: their alphas are float32 (test_diffusers has 1e-12 with float64 ones).
    """
    pytest.importorskip("diffusers")
    found = bench.run(
        sde="ddpm", solvers="ddim,diffusers:DDIMScheduler:timestep_spacing=trailing", grids="trailing", calls=5, **SMALL
    )
    ours, theirs = found.samples.values()
    assert found[0]["calls"] == found[1]["calls"] == 5
    torch.testing.assert_close(ours, theirs, rtol=0.0, atol=1e-3)


# --- ranks ---


def test_equal_solvers_tie(cells):
    """ddim and dpmpp_1 are one method by two formulas: neither is ever put above the other."""
    for budget in ("calls=5", "calls=9"):
        marks = {name: score(cells, cells.metrics[0], f"{name} | log_snr", budget).mark for name in ("ddim", "dpmpp_1")}
        assert marks["ddim"] == marks["dpmpp_1"] != "best"


def test_a_solver_that_is_worse_is_told_apart(cells):
    """The control: heun at 5 calls is fifty times the floor and not among the best."""
    found = score(cells, cells.metrics[0], "heun | log_snr", "calls=5")
    assert found.mark == ""
    assert not found.at_floor
    assert any(score(cells, cells.metrics[0], "ddim | log_snr", b).mark == "tie" for b in ("calls=5", "calls=9"))


def test_the_table_reads(cells):
    """The floor stands on top, ties are marked alike, and what was left out is told with its reason."""
    lines = bench.table(cells).splitlines()
    first = next(i for i, line in enumerate(lines) if line.startswith("sliced_w2"))
    assert lines[first + 1].startswith("real data (floor)")
    rows = {line.split()[0]: line for line in lines[first : first + 9] if line}
    strip = [re.sub(r"^\S+", "", rows[name]).strip() for name in ("ddim", "dpmpp_1")]
    assert strip[0] == strip[1]
    assert "*" not in rows["heun"]
    assert any("sscs" in line and "more than one block" in line for line in lines)


def test_the_answer_is_no_more_than_was_measured(cells):
    """It names who cannot be told from the best, and nobody else."""
    said = bench.answer(cells)
    assert "ddim" in said.headline
    assert "dpmpp_1" in said.headline
    assert "heun" not in said.headline


# --- failures inside ---


def test_a_network_that_returns_nan_fails_its_cells_alone():
    """nan where |x| > 8, where heun at 5 calls gets to: its cells say so, those of ddim are whole."""
    exact = torchdiff.get_target("gmm2d").denoiser(torchdiff.get_sde("vp"))

    def net(x, t):
        return torch.where(x.abs() > 8.0, torch.nan, exact.net(x, t))

    data = torchdiff.get_target("gmm2d").sample(200).float()
    found = bench.run(net=net, prediction="v", data=data, solvers="ddim,heun", calls=5, **_without("target"))
    ddim, heun = found
    assert ddim["problem"] is None
    assert ddim["metrics"]
    assert "samples are not finite" in heun["problem"]
    assert heun["metrics"] == {}
    assert heun["finite"] < 60
    assert "failed" in bench.table(found)
    assert math.isfinite(ddim["exact_w2"])


def test_a_network_of_the_wrong_shape_ends_the_bench():
    """Every other cell would say the same."""
    with pytest.raises(NetworkError, match="shape"):
        bench.run(
            net=lambda x, t: x[:, :1], prediction="x0", data=torch.randn(200, 2), solvers="ddim", calls=3,
            **_without("target"),
        )  # fmt: skip


@pytest.mark.parametrize(
    ("words", "error", "message"),
    [
        ({"metrics": "fid"}, UnknownNameError, "unknown metric 'fid'"),
        ({"metrics": ""}, OptionError, "names between commas"),
        ({"target": "gmm3d"}, UnknownNameError, "unknown target"),
        ({"solvers": "sscs"}, OptionError, "no solver can run: sscs"),
        ({"solvers": "x_*"}, UnknownNameError, "no solver is like"),
        ({"calls": None, "steps": 0}, OptionError, "steps are whole numbers from 1"),
        ({"steps": 3}, OptionError, "one of calls and steps"),
        ({"count": 1}, OptionError, "count is a whole number from 2"),
        ({"budget": -1.0}, OptionError, "budget is a number of seconds"),
        ({"budget": 1e-6}, OptionError, "too small for one cell"),
        ({"target": None}, OptionError, "say what to sample"),
        ({"preset": "digits"}, OptionError, "say what to sample"),
        ({"target": None, "preset": "digit"}, OptionError, "unknown preset"),
        ({"data": torch.zeros(9, 2)}, OptionError, "data belongs to a net"),
        ({"target": None, "net": torch.zeros_like}, OptionError, "give --data FILE"),
        ({"target": None, "net": torch.zeros_like, "prediction": "x0", "data": torch.zeros(9)}, OptionError, "floats"),
        ({"target": None, "net": torch.zeros_like, "prediction": "x0", "data": "none.npy"}, StorageError, "none.npy"),
        ({"solvers": "diffusers:Euler"}, UnknownNameError, "EulerDiscreteScheduler"),
        ({"solvers": "diffusers:DDIMScheduler:x=1"}, OptionError, "no option 'x'"),
        ({"grids": "trailling"}, UnknownNameError, "trailing"),
    ],
)
def test_a_wrong_question_is_one_clear_error(words, error, message):
    """What came, what was expected, before or without any cell."""
    with pytest.raises(error, match=re.escape(message)):
        bench.run(**SMALL | {"solvers": "ddim", "calls": 3} | words)


def test_a_library_that_is_not_there_is_named(monkeypatch):
    """azula or diffusers asked for and not installed: what to install."""
    monkeypatch.setitem(__import__("sys").modules, "azula", None)
    with pytest.raises(ImportError, match="pip install --no-deps azula"):
        contender("azula:DDIMSampler")


def test_grids_that_do_not_fit_are_left_out():
    """karras needs a log-SNR: on cld it is left out with the reason, and uniform runs."""
    found = bench.run(sde="cld", solvers="euler_maruyama", grids="karras,uniform", calls=5, **SMALL)
    assert [c["grid"] for c in found] == ["uniform"]
    assert "log-SNR" in found.header["left_out"][0]["why"]


# --- records ---


def test_every_field_is_checked(cells):
    """A record without a field, with one too many or of another type is refused, by name."""
    records = [cells.header, cells[0], cells.versus[0], cells.across[0]]
    for record in records:
        assert check(json.loads(json.dumps(record))) == record
        for name, types in FIELDS[record["kind"]].items():
            for broken in (
                {k: v for k, v in record.items() if k != name},
                record | {name: [] if list not in types else "x"},
            ):
                with pytest.raises(OptionError, match=name):
                    check(broken)
        with pytest.raises(OptionError, match="'more'"):
            check(record | {"more": 1})
    with pytest.raises(OptionError, match="network is a finite number"):
        check(cells[0] | {"timing": cells[0]["timing"] | {"network": None}})
    with pytest.raises(OptionError, match="format"):
        check(cells.header | {"format": 2})


def test_the_header_says_what_the_numbers_depend_on(cells):
    """J1: versions, noise version, machine, seeds, command."""
    header = cells.header
    assert header["versions"]["noise"] == str(torchdiff.noise.NOISE_VERSION)
    assert {"torchdiff", "torch", "python", "diffusers"} <= set(header["versions"])
    assert header["machine"]["threads"] == torch.get_num_threads()
    assert header["config"]["seeds"] == [0, 1]
    assert header["command"].startswith("torchdiff bench --target gmm2d ")


# --- lists of names ---

SPECS = st.sampled_from(["ddim", "ddim:eta=0.5", "karras:rho=7", "a:x=(b:y=1,z=2),w=3", "diffusers:X:a=true,b=2", "d*"])


@given(st.lists(SPECS, min_size=1, max_size=5))
def test_a_list_of_specs_reads_back(specs):
    """Commas part specs, commas before option=value do not."""
    assert split(",".join(specs)) == specs
    assert split(" , ".join(specs)) == specs


def test_patterns_are_names():
    """A pattern stands for what the registry lists under it, once."""
    assert listed("dpmpp_2*,dpmpp_2m", SOLVERS) == SOLVERS.names("dpmpp_2*")


# --- pictures ---


class Page(HTMLParser):
    """Tags that are open, and whatever a browser would load."""

    EMPTY = ("meta", "img", "br")

    def __init__(self) -> None:
        super().__init__()
        self.open, self.loads = [], []

    def handle_starttag(self, tag, attrs):
        self.loads += [v for k, v in attrs if k in ("src", "href", "xlink:href", "data") and not v.startswith("#")]
        if tag not in self.EMPTY:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.loads += [v for k, v in attrs if k in ("src", "href", "xlink:href") and not v.startswith("#")]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_pictures_and_report_are_the_same_each_time(cells, tmp_path):
    """PNG and SVG of work and samples; the report has the answer, is well formed, loads nothing, turns dark."""
    drawn = bench.pictures(cells)
    paths = bench.plot(cells, tmp_path, drawn)
    assert [path.name for path in paths] == ["work.png", "work.svg", "samples.png", "samples.svg"]
    assert {path.name: path.read_bytes() for path in paths} == drawn == bench.pictures(cells)
    text = bench.report(cells, tmp_path / "report.html", drawn).read_text(encoding="utf-8")
    page = Page()
    page.feed(text)
    assert page.open == []
    assert all(load.startswith("data:image/png;base64,") for load in page.loads)
    assert bench.answer(cells).headline in text.replace("&#x27;", "'")
    assert "url(http" not in text
    assert "@import" not in text
    # no text in a fixed ink, so that it can be read in the dark
    body = text.partition("</style>")[2]
    assert "var(--ink)" in body
    assert INK not in body
    assert SOFT not in body


def test_paper_cuts_nothing_off(cells):
    """What scrolls on a screen is not cut off on paper, figures and rows are whole, each page has the heads of its
    table, and what colour says is said by a sign: printers leave backgrounds out."""
    screen, _, paper = STYLE.partition("@media print")
    assert paper.count("{") == paper.count("}")  # the last of all rules, so that it wins over the others
    scrolls = [names for names, rule in _rules(screen).items() if "overflow-x: auto" in rule]
    assert scrolls
    rules = _rules(paper.partition("{")[2])
    for names in scrolls:
        assert any(names in other.split(", ") and "overflow: visible" in rule for other, rule in rules.items())
    assert "min-width: 0" in rules["figure svg"]
    assert "break-inside: avoid" in rules["figure, tr, .answer"]
    text = page(cells, bench.pictures(cells))
    assert text.count("<table") == text.count("<thead><tr>") == 1 + len(cells.metrics) + 2
    marks = [score(cells, cells.metrics[0], n, b).mark for n in contenders(cells) for b in budgets(cells)]
    assert text.count('<td class="score tie">') == marks.count("tie") > 0
    for name, sign in (("best", "*"), ("tie", "=")):
        assert f'content: "{sign}"' in _rules(screen)[f"td.{name}::after"]
        assert f"{sign} on " in text


def _rules(style: str) -> dict[str, str]:
    """Selectors to what is declared of them, all their rules."""
    found = {}
    for names, rule in re.findall(r"([^{}]+)\{([^{}]*)\}", style):
        key = " ".join(names.split())
        found[key] = found.get(key, "") + rule
    return found


# --- digits ---


def test_the_floor_of_the_digits_has_as_many_of_each():
    """Real rows are drawn with the samples' numbers of each digit, and so are draws with replacement."""
    from torchdiff.bench.subject import digits
    from torchdiff.zoo.digits import frechet_floor, reference

    gauge = digits().gauge("frechet", 70)
    labels, real = torch.arange(70) % 10, reference()
    _, rows = gauge._split(3)
    places = [int((real["features"].double() == row).all(1).nonzero()[0]) for row in rows]
    assert torch.bincount(real["labels"][places].long(), minlength=10).tolist() == [7] * 10
    for drawn in gauge._drawn():
        assert [int(drawn[labels == k].sum()) for k in range(10)] == [7] * 10
    mean, spread = frechet_floor(70)
    # 8 and 39 draws of one law: the means differ by less than 4 standard errors
    assert abs(gauge.floor[0] - mean) < 4 * spread * (1 / 8 + 1 / 39) ** 0.5


def test_the_digits_have_their_own_process():
    """Another SDE than that of the training is refused by name."""
    with pytest.raises(IncompatibleError, match="trained on vp"):
        bench.run("digits", sde="ve", solvers="ddim", calls=2, seeds=0, count=70)
