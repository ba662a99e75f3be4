"""Laws of the registries: names, specs and their inverse, plugins that cannot hurt who does not ask for them."""

from __future__ import annotations

import itertools
import math
import subprocess
import sys
import textwrap
import threading
import warnings
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from torchdiff.conventions import CONVENTIONS
from torchdiff.errors import DuplicateNameError, OptionError, PluginError, UnknownNameError
from torchdiff.options import Option, read, write
from torchdiff.plugins import GROUPS, installed
from torchdiff.registry import GRIDS, METRICS, SDES, SOLVERS, TARGETS, Registry
from torchdiff.spec import parse_options, quote

TOYS = Registry("toy")
BOXES = Registry("box")


@TOYS.register("top")
@dataclass(frozen=True)
class Top:
    """A spinning top.

    More words that a list does not show.
    """

    spin: float = 0.5
    turns: int = 3
    bright: bool = False
    label: str = "plain"
    limit: float | None = None
    reach: float = math.inf


@TOYS.register("kite")
@dataclass(frozen=True)
class Kite:
    length: float
    tails: tuple[int, ...] = field(default_factory=lambda: (1, 2))


@BOXES.register("box")
@dataclass(frozen=True)
class Box:
    toy: str | Top | Kite = "top"

    def __post_init__(self) -> None:
        object.__setattr__(self, "toy", TOYS.get(self.toy))


# --- names ---


@pytest.mark.parametrize("name", ["", "Top", "2top", "to-p", "to p", "tóp", "top\n", "_top", None, 3])
def test_names_are_lower_case_identifiers(name):
    """A name that a spec, a shell or a file system could not hold is refused, and the message shows it."""
    with pytest.raises(OptionError, match="lower-case"):
        Registry("toy").register(name)


def test_duplicates_are_refused_and_both_are_named():
    """A name has one class and a class one name; register returns the class itself, unchanged."""
    toys = Registry("toy")

    class First: ...

    class Second: ...

    before = dict(vars(First))
    assert toys.register("first")(First) is First
    assert dict(vars(First)) == before
    with pytest.raises(DuplicateNameError, match=r"First already.*Second"):
        toys.register("first")(Second)
    with pytest.raises(DuplicateNameError, match=r"'first' already, got 'other'"):
        toys.register("other")(First)
    assert toys.names() == ["first"]


def test_a_notebook_cell_may_run_twice():
    """A class of __main__ replaces the class of the same name that an earlier run of the same cell defined."""
    toys = Registry("toy")
    first, second = (type("Mine", (), {"__module__": "__main__"}) for _ in range(2))
    toys.register("mine")(first)
    toys.register("mine")(second)
    assert type(toys.get("mine")) is second


def test_unknown_names_list_the_nearest_and_all():
    """The message holds what came, the nearest name and every known one."""
    with pytest.raises(UnknownNameError, match=r"unknown toy 'topp'; did you mean 'top'\? known: kite, top"):
        TOYS.get("topp")


def test_a_registry_reads_like_a_mapping_and_cannot_be_written():
    """in, iteration and length agree with names(), which is sorted and takes file-name patterns."""
    assert (list(TOYS), len(TOYS), "top" in TOYS, "hat" in TOYS) == (["kite", "top"], 2, True, False)
    assert (TOYS.names("t*"), TOYS.names("T*"), TOYS.names("[")) == (["top"], [], [])
    with pytest.raises(TypeError):
        TOYS["hat"] = Top


def test_describe_tells_summary_options_and_source():
    """The first line of the docstring, each option with type and default, and who provides it."""
    entry = TOYS.describe("top")
    assert (entry.summary, entry.source) == ("A spinning top.", __name__)
    assert entry.options[0] == Option("spin", "float", 0.5, "0.5")
    assert list(map(str, TOYS.describe("kite").options)) == ["length=<float>", "tails=(1, 2)"]
    assert SDES.describe("vp").source == "built-in"


@pytest.mark.parametrize("registry", [SDES, SOLVERS, GRIDS], ids=lambda r: r.kind)
def test_every_built_in_is_listed_described_and_goes_round(registry):
    """For each built-in name: a one-line summary, and the object of its spec is the object."""
    for name in registry.names():
        thing = registry.get(name)
        assert registry.spec(thing) == name
        assert registry.get(registry.spec(thing)) == thing
        assert registry.describe(name).summary.endswith((".", ")"))


# --- specs ---


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("top", Top()),
        ("  top : spin = 2 , turns=-4 ", Top(2.0, -4)),
        ("top:spin=1e-3,bright=yes", Top(1e-3, bright=True)),
        ("top:bright=0,label=(a, b:c=(d) )", Top(label="a, b:c=(d) ")),
        ("top:label=()", Top(label="")),
        ("top:limit=none", Top()),
        ("top:limit=7,reach=inf", Top(limit=7.0)),
        ("kite:length=2", Kite(2.0)),
    ],
)
def test_specs_read_as_written_down(text, expected):
    """Each quoting rule of torchdiff.spec on an example."""
    assert TOYS.get(text) == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("top:spin=(1", r"unbalanced '\(' at character 10: 'top:spin=\^\(1'"),
        ("top:spin=1)", r"unbalanced '\)' at character 11: 'top:spin=1\^\)'"),
        ("top:spin=(1)2", r"ends with '\)' at character 13"),
        ("top:spin=a=b", "'=' in a value needs parentheses.*character 11"),
        ("top:spin", "option 'spin' has no value"),
        ("top:spin=", "option 'spin' has no value"),
        ("top:", "expected option=value, got ''"),
        ("top:spin=1,", "expected option=value, got ''"),
        ("top:=1", "expected option=value"),
        ("top:spin=1,spin=2", "'spin' is given twice"),
        ("top:spun=1", "no option 'spun'; its options: spin=0.5, turns=3, bright=false"),
        ("kite", r"needs length; its options: length=<float>"),
        ("top:spin=nan", "option 'spin': expected a finite number, got 'nan'"),
        ("top:spin=inf", "expected a finite number"),
        ("top:spin=1e999", "expected a finite number"),
        ("top:spin=1_0", "expected a finite number"),
        ("top:spin=٣", "expected a finite number"),
        ("top:turns=1.5", "expected a whole number"),
        ("top:turns=" + "9" * 5000, "expected a whole number"),
        ("top:bright=maybe", "expected true or false, got 'maybe'"),
        ("top:limit=lots", "expected a finite number or none"),
    ],
)
def test_a_wrong_spec_says_what_came_and_what_was_expected(text, message):
    """Every way to write a spec wrongly is an OptionError of one line that names the option or the place."""
    with pytest.raises(OptionError, match=message) as caught:
        TOYS.get(text)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize("value", ["x", True, None, math.nan, math.inf, 1j, [1.0]])
def test_options_from_python_are_checked_too(value):
    """What is no finite number is refused for a float option, wherever it comes from."""
    with pytest.raises(OptionError, match="option 'spin': expected a finite number"):
        TOYS.get("top", spin=value)


def test_objects_and_classes_pass_through():
    """An object is returned as it is, a class is called; options for an object that is built come too late."""
    top = Top(2.0)
    assert TOYS.get(top) is top
    assert TOYS.get(Top, spin=2) == TOYS.get("top", spin="2") == top
    with pytest.raises(OptionError, match="built already"):
        TOYS.get(top, spin=1)
    with pytest.raises(OptionError, match="given twice"):
        TOYS.get("top:spin=1", spin=1)


@pytest.mark.parametrize("thing", [None, 3, b"vp", ["vp"], int, SOLVERS])
def test_what_is_no_sde_is_refused_at_the_door(thing):
    """An object of another kind is named, with the names that would do."""
    with pytest.raises(OptionError, match="a sde is a name, a LinearSDE or its class, got .*known: cld, .*, ve, vp"):
        SDES.get(thing)
    with pytest.raises(OptionError):
        SDES.get(SOLVERS.get("ddim"))


numbers = st.floats(allow_nan=False, allow_infinity=False)
texts = st.text(max_size=12) | st.text("ab(),:= ", max_size=12)


def balanced(text: str) -> bool:
    depths = list(itertools.accumulate((c == "(") - (c == ")") for c in text))
    return not depths or (min(depths) >= 0 and depths[-1] == 0)


@given(numbers, st.integers(), st.booleans(), texts.filter(balanced), st.none() | numbers)
def test_spec_is_the_inverse_of_get(spin, turns, bright, label, limit):
    """get(spec(thing)) == thing for every value, bit for bit, and inside another thing too."""
    if label.strip().lower() == "none":  # text for a str option all the same
        label = "some"
    top = Top(spin, turns, bright, label, limit)
    assert TOYS.get(TOYS.spec(top)) == top
    box = Box(top)
    assert BOXES.get(BOXES.spec(box)) == box


def test_spec_says_only_what_differs():
    """Defaults are left out; a nested object is written in parentheses."""
    assert TOYS.spec(Top(turns=4)) == "top:turns=4"
    assert BOXES.spec(Box()) == "box:toy=(top)"
    assert BOXES.spec(Box(Top(0.1, label="a,b"))) == "box:toy=(top:spin=0.1,label=(a,b))"


def test_spec_refuses_what_it_could_not_read_back():
    """No text is better than a wrong one: unregistered classes, unbalanced parentheses, values without a text."""
    with pytest.raises(UnknownNameError, match="no registered toy"):
        TOYS.spec(3)
    with pytest.raises(OptionError, match="unbalanced"):
        TOYS.spec(Top(label="("))
    assert TOYS.label(Top(label="(")) == repr(Top(label="("))
    assert (TOYS.label(3), TOYS.label(Top())) == ("3", "top")
    with pytest.raises(OptionError, match="cannot be written"):
        TOYS.spec(Kite(1.0, (3,)))


@given(texts)
def test_any_text_parses_or_is_a_named_error(text):
    """No input makes the parser fail in another way, and what parses can be quoted and parsed again."""
    try:
        options = parse_options(text, 0)
    except OptionError:
        return
    again = ",".join(f"{name}={quote(value)}" for name, value in options.items())
    assert parse_options(again, 0) == options


@given(st.none() | st.booleans() | st.integers() | numbers)
def test_read_is_the_inverse_of_write(value):
    """Each plain value survives the way through text with its type."""
    option = Option("it", type(value).__name__ if value is not None else "float | None", None)
    text = write(value)
    result = read("it", option, text)
    assert result == value
    assert type(result) is type(value)


# --- plugins ---


@pytest.fixture
def install(tmp_path, monkeypatch):
    """install(distribution, {entry point: value}, {module: code}): a distribution on sys.path, as pip leaves it."""
    count = itertools.count()

    def add(distribution, points, modules=(), group="torchdiff.toys_test", version="1.0", lines=None):
        root = tmp_path / f"site{next(count)}"
        info = root / f"{distribution}-{version}.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: {version}\n")
        body = lines if lines is not None else "".join(f"{name} = {value}\n" for name, value in points.items())
        (info / "entry_points.txt").write_text(f"[{group}]\n{body}")
        for module, code in dict(modules).items():
            (root / f"{module}.py").write_text(textwrap.dedent(code))
            monkeypatch.delitem(sys.modules, module, raising=False)
        monkeypatch.syspath_prepend(root)
        return root

    monkeypatch.setattr("torchdiff.plugins.GROUPS", ("torchdiff.toys_test",))
    monkeypatch.delenv("TORCHDIFF_PLUGINS", raising=False)
    yield add
    for module in [m for m in sys.modules if m.startswith("plug_")]:
        del sys.modules[module]


@pytest.fixture
def toys():
    """A registry with one built-in, open to plugins."""
    registry = Registry("toy", "torchdiff.toys_test")
    registry.register("top")(Top)
    yield registry
    Registry.everyone.remove(registry)


GOOD = """
    from dataclasses import dataclass

    @dataclass(frozen=True)
    class Drum:
        '''A drum.'''
        size: float = 1.0
"""


def test_a_plugin_is_listed_by_its_metadata_and_loaded_by_get(install, toys):
    """Listing, describing and asking `in` run none of its code; get does, and spec knows the way back."""
    install("drums", {"drum": "plug_drum:Drum"}, {"plug_drum": GOOD})
    assert toys.names() == ["drum", "top"]
    assert "drum" in toys
    assert toys.describe("drum")[1:] == ("not loaded yet", (), "plugin of drums 1.0")
    assert "plug_drum" not in sys.modules
    drum = toys.get("drum:size=2")
    assert drum.size == 2.0
    assert toys.spec(drum) == "drum:size=2.0"
    assert toys.get("drums/drum:size=2") == toys.get("drums:drum:size=2") == drum
    assert toys.describe("drum").summary == "A drum."


def test_a_plugin_that_was_imported_otherwise_has_its_name_too(install, toys):
    """spec of an object whose class came by import, not by get, is found through the metadata."""
    install("drums", {"drum": "plug_drum:Drum"}, {"plug_drum": GOOD})
    import plug_drum  # pyright: ignore[reportMissingImports]

    assert toys.spec(plug_drum.Drum(3.0)) == "drum:size=3.0"


@pytest.mark.parametrize(
    ("code", "cause"),
    [
        ("import no_such_module_at_all", "ModuleNotFoundError: No module named 'no_such_module_at_all'"),
        ("class Drum(: pass", "SyntaxError"),
        ("raise SystemExit(3)", "SystemExit: 3"),
        ("1 / 0", "ZeroDivisionError"),
        ("class Out(BaseException): pass\nraise Out('of here')", "Out: of here"),
        ("", "AttributeError"),
        ("Drum = 3", "should be a class, got 3"),
        (
            "class Drum: torchdiff_api = 2",
            "too new: made for torchdiff_api = 2, this torchdiff has 1; update torchdiff-sde",
        ),
        ("class Drum: torchdiff_api = 0", "too old.*update drums"),
    ],
)
def test_a_broken_plugin_fails_when_asked_for_and_only_then(install, toys, code, cause):
    """The error names plugin, entry point, distribution, version and cause; other names work before and after."""
    install("drums", {"drum": "plug_drum:Drum"}, {"plug_drum": code}, version="2.3")
    assert toys.names() == ["drum", "top"]
    with pytest.raises(PluginError, match=rf"plugin 'drum' \(plug_drum:Drum\) of drums 2.3 .*{cause}"):
        toys.get("drum")
    assert toys.get("top") == Top()


def test_a_plugin_that_fails_to_be_built_is_named(install, toys):
    """What its class raises at defaults is the plugin's fault too; a ValueError is its word on a value, and stays."""
    code = "class Drum:\n    def __init__(self): {}"
    install("drums", {"drum": "plug_drum:Drum"}, {"plug_drum": code.format("1 / 0")})
    install("bells", {"bell": "plug_bell:Drum"}, {"plug_bell": code.format("raise ValueError('too loud')")})
    with pytest.raises(PluginError, match=r"plugin 'drum' .* of drums 1.0 cannot be built: ZeroDivisionError"):
        toys.get("drum")
    with pytest.raises(ValueError, match="^too loud$"):
        toys.get("bell")


def test_a_module_that_failed_leaves_nothing_registered(install, toys):
    """What it had registered before it failed is gone, so that a second try says the same and not 'already'."""
    code = "import plug_hub\n" + textwrap.dedent(GOOD) + "plug_hub.toys.register('drum')(Drum)\n1 / 0"
    install("drums", {"drum": "plug_self:Drum"}, {"plug_self": code})
    sys.modules["plug_hub"] = hub = type(sys)("plug_hub")
    hub.toys = toys
    for _ in range(2):
        with pytest.raises(PluginError, match="of drums 1.0 does not load: ZeroDivisionError"):
            toys.get("drum")
    assert toys.names() == ["drum", "top"]
    assert toys.find("drum") is None


def test_a_plugin_that_hangs_holds_up_nobody_else(install, toys):
    """While one thread waits for an import that does not end, every other name is listed and built."""
    code = "import plug_hub\nplug_hub.began.set()\nassert plug_hub.end.wait(60)\n" + textwrap.dedent(GOOD)
    install("drums", {"drum": "plug_drum:Drum"}, {"plug_drum": code})
    install("bells", {"bell": "plug_bell:Drum"}, {"plug_bell": GOOD})
    sys.modules["plug_hub"] = hub = type(sys)("plug_hub")
    hub.began, hub.end = threading.Event(), threading.Event()
    thread = threading.Thread(target=toys.get, args=("drum",))
    thread.start()
    try:
        assert hub.began.wait(60)
        assert toys.names() == ["bell", "drum", "top"]
        assert (toys.get("top"), toys.get("bell").size) == (Top(), 1.0)
        assert thread.is_alive()
    finally:
        hub.end.set()
        thread.join()
    assert toys.get("drum").size == 1.0


def test_a_keyboard_interrupt_stays_one(install, toys):
    """Ctrl-C while a plugin loads is the user's, not the plugin's fault."""
    install("drums", {"drum": "plug_drum:Drum"}, {"plug_drum": "raise KeyboardInterrupt"})
    with pytest.raises(KeyboardInterrupt):
        toys.get("drum")


def test_a_plugin_of_the_wrong_kind_is_named(install):
    """An entry point of the SDE group that is no LinearSDE is a PluginError, not a failure deep inside."""
    install("drums", {"drum": "plug_drum:Drum"}, {"plug_drum": GOOD})
    registry = Registry("sde", "torchdiff.toys_test", base="torchdiff.sde.base:LinearSDE")
    with pytest.raises(PluginError, match=r"drums 1\.0 is of the wrong kind.*LinearSDE"):
        registry.get("drum")
    Registry.everyone.remove(registry)


def test_a_plugin_never_replaces_what_is_there(install, toys):
    """The name is the built-in's; a warning names the plugin once, when that name is asked for; its path gets it."""
    install("drums", {"top": "plug_drum:Drum"}, {"plug_drum": GOOD})
    assert toys.names() == ["drums/top", "top"]
    with pytest.warns(UserWarning, match="plugin 'top' .* of drums 1.0 is 'drums/top'"):
        assert toys.get("top") == Top()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert toys.get("top") == Top()
    drum = toys.get("drums/top:size=2")
    assert toys.spec(drum) == "drums/top:size=2.0"


def test_a_plugin_never_takes_a_reserved_word(install):
    """The bare word stays what it is; the plugin is listed and found by its path."""
    registry = Registry("toy", "torchdiff.toys_test", reserved={"any": "is a word"})
    install("drums", {"any": "plug_drum:Drum"}, {"plug_drum": GOOD})
    assert registry.names() == ["drums/any"]
    with pytest.raises(UnknownNameError, match="toy 'any' is a word; known: drums/any"):
        registry.get("any")
    with pytest.raises(DuplicateNameError, match="toy 'any' is a word; take another name"):
        registry.register("any")
    drum = registry.get("drums/any:size=2")
    assert registry.spec(drum) == "drums/any:size=2.0"
    Registry.everyone.remove(registry)


def test_two_plugins_with_one_name_are_both_listed(install, toys):
    """Neither wins: the bare name is an error that lists both paths, and each path works."""
    install("drums", {"drum": "plug_drum:Drum"}, {"plug_drum": GOOD})
    install("Toy_Shop", {"drum": "plug_shop:Drum"}, {"plug_shop": GOOD})
    assert toys.names() == ["Toy_Shop/drum", "drums/drum", "top"]
    with pytest.raises(PluginError, match="'Toy_Shop/drum' or 'drums/drum'"):
        toys.get("drum")
    drum = toys.get("toy-shop:drum")
    assert type(drum).__module__ == "plug_shop"
    assert toys.get(toys.spec(drum)) == drum


def test_a_registered_name_before_the_colon_is_never_a_distribution(install, toys):
    """`top:drum` stays an option without a value, whatever a distribution calls itself."""
    install("top", {"drum": "plug_drum:Drum"}, {"plug_drum": GOOD})
    with pytest.raises(OptionError, match="'drum' has no value"):
        toys.get("top:drum")
    assert toys.get("top/drum").size == 1.0


@pytest.mark.parametrize(
    ("setting", "open_"),
    [("0", False), ("", False), ("other", False), ("1", True), ("on", True), ("other, DRUMS", True)],
)
def test_the_user_decides_which_plugins_come_in(install, toys, monkeypatch, setting, open_):
    """TORCHDIFF_PLUGINS=0 turns all off, a list lets only its distributions in; the error says so."""
    install("drums", {"drum": "plug_drum:Drum"}, {"plug_drum": GOOD})
    monkeypatch.setenv("TORCHDIFF_PLUGINS", setting)
    assert ("drum" in toys) is open_
    if open_:
        assert toys.get("drum").size == 1.0
    else:
        with pytest.raises(UnknownNameError, match="of drums 1.0 has it, but TORCHDIFF_PLUGINS does not let it in"):
            toys.get("drum")
        assert "plug_drum" not in sys.modules


def test_torn_metadata_hides_one_distribution_and_no_other(install, toys):
    """An unreadable entry_points.txt, a name that no spec can hold, one that stands there twice or that points to no
    class are problems of that distribution alone, and told to who asks for the name."""
    install("torn", {}, lines="this is no entry point\n")
    install("shout", {"DRUM": "plug_drum:Drum"})
    install("nowhere", {"flute": "plug drum!"})
    install("twice", {}, lines="horn = plug_drum:Drum\nhorn = plug_drum:Other\n")
    bytes_ = install("bytes", {})
    next(bytes_.glob("*.dist-info/entry_points.txt")).write_bytes(b"[\xff\xfe]")
    install("drums", {"drum": "plug_drum:Drum"}, {"plug_drum": GOOD})
    assert toys.names() == ["drum", "top"]
    problems = {p.distribution: p.problem for p in installed() if p.problem}
    assert set(problems) == {"torn", "shout", "nowhere", "twice", "bytes"}
    assert "lower-case" in problems["shout"]
    assert "cannot be read" in problems["torn"]
    assert "cannot be read" in problems["bytes"]
    for name, why in (("flute", r"of nowhere 1\.0 .*expected module:Class, got 'plug drum!'"), ("horn", "name twice")):
        with pytest.raises(UnknownNameError, match=why):
            toys.get(name)
    assert toys.get("drum").size == 1.0


def test_a_plugin_module_may_register_itself(install, toys):
    """An entry point whose module also uses the decorator is one thing under one name, without a warning."""
    install("drums", {"drum": "plug_self:Drum"}, {"plug_self": "import plug_hub\n" + textwrap.dedent(GOOD)})
    hub = type(sys)("plug_hub")
    sys.modules["plug_hub"] = hub
    drum = toys.get("drum")
    toys.register("drum")(type(drum))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert toys.get("drum") == drum
    assert toys.names() == ["drum", "top"]


def test_get_from_many_threads_gives_one_class(install, toys):
    """The first get of a plugin, made by 16 threads at once, loads one class."""
    slow = "import time; time.sleep(0.05)\n" + textwrap.dedent(GOOD)
    install("drums", {"drum": "plug_drum:Drum"}, {"plug_drum": slow})
    found, gate = [], threading.Barrier(16)

    def ask() -> None:
        gate.wait()
        found.append(type(toys.get("drum")))

    threads = [threading.Thread(target=ask) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 16
    assert len(set(found)) == 1


def test_importing_torchdiff_loads_no_plugin_and_no_torch(install):
    """In a fresh interpreter: import, list and get of built-ins leave torch and every plugin alone, broken ones too."""
    root = install("drums", {"drum": "plug_drum:Drum"}, {"plug_drum": "raise SystemExit"}, group="torchdiff.solvers")
    code = """
        import sys
        import torchdiff
        assert "drum" in torchdiff.list_solvers(), torchdiff.list_solvers()
        torchdiff.get_sde("vp"), torchdiff.get_solver("ddim:eta=0.5"), torchdiff.get_grid("karras")
        assert not {"torch", "numpy", "plug_drum"} & set(sys.modules)
    """
    env = {"PYTHONPATH": f"{root}:{Path(__file__).parents[1]}"}
    subprocess.run([sys.executable, "-c", textwrap.dedent(code)], check=True, env=env, timeout=60)


def test_entry_points_are_looked_for_in_the_group_of_every_registry():
    """A registry whose group is not looked for would take no plugin, and say nothing."""
    assert {registry.group for registry in (SDES, SOLVERS, GRIDS, TARGETS, METRICS, CONVENTIONS)} == {*GROUPS}
