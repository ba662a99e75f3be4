"""A network of any published convention, wrapped, samples what our exact network samples, by a plan as fused."""

import math

import mpmath
import networks
import pytest
import torch

import torchdiff
from torchdiff import CLD, Level, gaussian, wrap
from torchdiff.conventions import CONVENTIONS, EDM, Convention
from torchdiff.errors import IncompatibleError, OptionError
from torchdiff.planner import plan
from torchdiff.remembered import planned
from torchdiff.steps import AffineStep

SHAPE, SEED = (3, 4), 7
SOLVERS = ("ddim", "ddpm", "dpmpp_2m", "heun")


@pytest.mark.parametrize("name", networks.KNOWN)
def test_a_wrapped_network_samples_as_ours(name):
    """x by the wrap is x by our own x0 network, to rounding, and the plan has the same fused items."""
    net, words, sde = networks.KNOWN[name]
    for solver in SOLVERS:
        options = dict(steps=8, shape=SHAPE, seed=SEED, dtype=torch.float64)
        ours = torchdiff.sample(networks.x0_net(sde), sde, solver, prediction="x0", **options)
        theirs = torchdiff.sample(wrap(net, **words), sde, solver, **options)
        # 1e-12: 2^-52 times 50, the largest |x| on VE, times the label's inverse and the division by sigma = 0.01
        assert (theirs.x - ours.x).abs().max() <= 1e-12
        assert all(isinstance(item, AffineStep) for item in theirs.plan.items)
        # one item more at the start where the input is scaled: the first scaled x; later ones are rows of their step
        scaled = theirs.plan.items[0].at is None
        assert len(theirs.plan.items) - len(ours.plan.items) == scaled


@pytest.mark.parametrize("name", networks.KNOWN)
def test_every_convention_has_the_same_law(name):
    """The plan pushed through Gaussian data has the same W2 error, whatever the network predicts and is fed."""
    _, words, sde = networks.KNOWN[name]
    for solver in SOLVERS:
        w2 = [
            gaussian.w2(plan(sde, solver, steps=8, denoiser=wrap(None, **w)), networks.VAR, networks.MEAN)
            for w in (words, {"prediction": "x0"})
        ]
        assert w2[0] == pytest.approx(w2[1], rel=1e-10, abs=1e-12)  # rounding of 8 steps, through weights up to 1e4


def cld_exact(x, v, t, mixed):
    """Network and score of CLD's velocity for data N(MEAN, VAR), from the closed forms of the paper's appendix B.

    beta = 4, 1 / M = 4, Gamma = 1: B = 4 t, with 50 digits where they cancel. The noise of v_0 is gamma M = 0.01.
    """
    with mpmath.workdps(50):
        b, f, g, start = 4 * mpmath.mpf(t), 1, mpmath.mpf(1), mpmath.mpf(0.04) * mpmath.mpf(0.25)
        decay, whole = mpmath.exp(-4 * b * g), mpmath.exp(4 * b * g)

        def cov(a, c):
            xx = a + whole - 1 + 4 * b * g * (a - 1) + 4 * b**2 * g**2 * (a - 2) + 16 * g**4 * b**2 * c
            xv = -a * b + 4 * g**2 * b * c - 2 * g * b**2 * (a - 2) - 8 * g**3 * b**2 * c
            vv = f**2 * (whole - 1) / 4 + f * b - 4 * g * b * c + 4 * g**2 * b**2 * c + c + b**2 * (a - 2)
            return [decay * entry for entry in (xx, xv, vv)]

        sxx, sxv, svv = cov(0, start)
        multiplier = mpmath.sqrt(sxx / (sxx * svv - sxv**2))
        pxx, pxv, pvv = cov(networks.VAR, start)
        det = pxx * pvv - pxv**2
        away_x = x - float(mpmath.exp(-2 * b * g) * (1 + 2 * b * g)) * networks.MEAN
        away_v = v + float(mpmath.exp(-2 * b * g) * b) * networks.MEAN
        score = float(pxv / det) * away_x - float(pxx / det) * away_v
        residual = score + v / float(svv) if mixed else score
        return -residual / float(multiplier), score


@pytest.mark.parametrize("solver", ["euler_maruyama", "sscs", "ode"])
@pytest.mark.parametrize("mixed", [False, True])
def test_cld_networks_take_both_blocks_in_one_tensor(solver, mixed):
    """net(cat(x, v), t) with score_v = -l net (- v / Svv, mixed) samples as net(x, v, t) = score_v."""

    def joined(u, t):
        x, v = u.chunk(2, dim=1)
        return cld_exact(x, v, float(t[0]), mixed)[0]

    options = dict(steps=6, shape=(2, 3, 2), seed=SEED, dtype=torch.float64, t_min=0.05)
    ours = torchdiff.sample(
        lambda x, v, t: cld_exact(x, v, float(t[0]), mixed)[1], "cld", solver, prediction="score", **options
    )
    theirs = torchdiff.sample(wrap(joined, "mixed_score" if mixed else "eps", joined=True), "cld", solver, **options)
    for a, b in zip(ours.state, theirs.state, strict=True):
        assert (a - b).abs().max() <= 1e-12 * a.abs().max()  # rounding of 6 steps
    assert all(isinstance(item, AffineStep) for item in theirs.plan.items)
    assert len(theirs.plan.items) == len(ours.plan.items)
    told = [plan("cld", solver, steps=6, denoiser=wrap(None, word)) for word in ("score", "mixed_score", "energy")]
    laws = [gaussian.moments(each, networks.VAR, networks.MEAN) for each in told]
    for law in laws[1:]:
        assert law.cov == pytest.approx(laws[0].cov, rel=1e-10)
        assert law.mean == pytest.approx(laws[0].mean, rel=1e-10, abs=1e-12)


def test_an_energy_of_scaled_input_has_the_chain_rule_in_the_plan():
    """E(c x) with the score -c E'(c x): the factor c is in the weights, not in a tensor, for one block and for two."""
    scale = lambda level: 0.5 + level.t  # noqa: E731
    options = dict(steps=5, shape=SHAPE, seed=SEED, dtype=torch.float64)
    ours = torchdiff.sample(networks.x0_net("vp"), "vp", "ddim", prediction="x0", **options)
    scaled = wrap(lambda y, t: networks.energy(y / networks.wide(0.5 + t, y), t), "energy", input_scale=scale)
    theirs = torchdiff.sample(scaled, "vp", "ddim", **options)
    assert (theirs.x - ours.x).abs().max() <= 1e-12  # rounding of 5 steps
    block = CLD().level(0.3)
    assert wrap(None, "energy", input_scale=scale).meaning(block) == (0.0, -0.8)


def test_words_have_options_and_one_spelling():
    """sigma_data goes in by text or object, the prediction is the spec that makes the convention again."""
    assert wrap(None, "edm:sigma_data=0.50").prediction == "edm"
    assert wrap(None, EDM(sigma_data=1)).prediction == wrap(None, "edm:sigma_data=1").prediction == "edm:sigma_data=1.0"
    for name in torchdiff.list_conventions():
        assert CONVENTIONS.get(wrap(None, name).prediction) == wrap(None, name).convention
    level = torchdiff.VP().level(0.3)
    other = wrap(None, "ddpm:count=4000")
    assert other.label(level) == pytest.approx(1199.0, rel=1e-15)
    with pytest.raises(OptionError, match="sigma_data must be positive, got -1"):
        wrap(None, "edm:sigma_data=-1")
    # the net's own words agree or are refused, in any spelling
    net = wrap(networks.edm_raw, "edm")
    options = dict(steps=2, shape=SHAPE, seed=0)
    torchdiff.sample(net, "ve", "ddim", prediction="edm:sigma_data=0.5", **options)
    with pytest.raises(OptionError, match="differs"):
        torchdiff.sample(net, "ve", "ddim", prediction="edm:sigma_data=1", **options)


def test_time_and_scale_said_beside_a_convention_win():
    """edm with time="t" and input_scale="none" is F of x at t."""
    level = torchdiff.VE().level(0.4)
    bare = wrap(None, "edm", "t", "none")
    assert (bare.label(level), bare.scale(level)) == (0.4, 1.0)
    assert bare.meaning(level) == wrap(None, "edm").meaning(level)


def test_edm_is_finite_where_alpha_or_sigma_is_zero():
    """(u, w) and c_in have no pole: at sigma = 0 F is -eps, at alpha = 0 it is x0 / sigma_data."""
    edm = EDM(sigma_data=0.5)
    assert edm.meaning(Level(0.0, 1.0, 0.0)) == (0.0, -1.0)
    assert edm.meaning(Level(1.0, 0.0, 1.0)) == (2.0, 0.0)
    assert (edm.scale(Level(0.0, 1.0, 0.0)), edm.scale(Level(1.0, 0.0, 2.0))) == (2.0, 0.5)


def test_remembered_plans_are_of_one_convention():
    """Two conventions, or two values of an option, never share a remembered plan; equal words do."""
    words = dict(steps=5, noise="white") | dict.fromkeys(
        ("calls", "times", "sigmas", "grid", "t_min", "t_max", "final")
    )
    made = [
        planned("vp", "ddim", wrap(None, *word), False, **words)
        for word in (("edm",), ("edm:sigma_data=1",), ("k_diffusion",), ("x0",), ("x0", "sigma", "data"), ("edm",))
    ]
    assert made[0] is made[5]
    assert len({str(p.items) for p in made[:4]}) == 4
    assert made[2].items == made[4].items


@pytest.mark.parametrize(("prediction", "sde"), [("v", "cld"), ("edm", "cld"), ("mixed_score", "vp")])
def test_conventions_without_meaning_are_named(prediction, sde):
    """A word for one block on two, or for two on one, is an error that names both and what would do."""
    with pytest.raises(IncompatibleError, match=rf"{prediction!r} has no meaning for .* block\(s\).*'eps'"):
        torchdiff.plan(sde, "euler_maruyama", steps=3, prediction=prediction)


def test_a_convention_of_ones_own():
    """A registered class with meaning, label and scale works wherever a word does, and its plans are not remembered."""

    @torchdiff.register_convention("test_half")
    class Half(Convention):
        def meaning(self, level):
            return 0.0, 0.5

        def label(self, level):
            return 10.0 * level.t

    try:
        net = lambda x, t: 0.5 * networks.score_sde_vp(x, 99.9 * t)  # noqa: E731
        options = dict(steps=5, shape=SHAPE, seed=SEED, dtype=torch.float64)
        ours = torchdiff.sample(networks.x0_net("vp"), "vp", "ddim", prediction="x0", **options)
        theirs = torchdiff.sample(net, "vp", "ddim", prediction="test_half", **options)
        assert (theirs.x - ours.x).abs().max() <= 1e-12  # rounding of 5 steps
        other = torchdiff.sample(wrap(net, Half()), "vp", "ddim", **options)
        assert torch.equal(other.x, theirs.x)
        assert other.plan is not theirs.plan
    finally:
        del CONVENTIONS._classes["test_half"], CONVENTIONS._names[Half]


def test_an_unregistered_convention_is_named():
    """A convention that has no name cannot be stored with a plan: the error says how it gets one."""
    with pytest.raises(ValueError, match="register_convention"):
        wrap(None, type("Mine", (Convention,), {})())


def test_meanings_invert():
    """For every scalar convention x0 and eps come back from x = alpha x0 + sigma eps and u x0 + w eps."""
    for name in torchdiff.list_conventions():
        if name == "mixed_score":
            continue
        for t in (0.05, 0.4, 0.9):
            level = torchdiff.VP().level(t)
            u, w = wrap(None, name).meaning(level)
            assert math.isfinite(u + w)
            assert abs(level.alpha * w - level.sigma * u) > 1e-3
