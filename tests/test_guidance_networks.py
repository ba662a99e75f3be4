"""Guidance by another network: by a weaker one of any prediction, and by the gradient of a classifier."""

import pytest
import torch
from gaussians import OUTPUT, field, levels, network, score, wide

import torchdiff
from torchdiff import autoguide, classifier_guide, clip, get_sde, guide, wrap
from torchdiff.errors import IncompatibleError
from torchdiff.predict import read

F64 = torch.float64
X = torch.linspace(-2.0, 2.0, 12, dtype=F64).reshape(3, 4)
LABELS = torch.tensor([0, 1, 2])
PREDICTIONS = list(OUTPUT)
FEW = ["ddim", "dpmpp_2m", "unipc", "euler_maruyama", "ddpm", "heun", "predictor_corrector", "rk45"]


def gaussian_net(prediction, mean, variance, sde="vp"):
    """net(x, t) for data N(mean, variance)."""
    net = network(sde, prediction, [mean], variance)
    return lambda x, t: net(x, t, torch.zeros(len(x), dtype=torch.int64))


def run(net, solver, **more):
    ends = {"t_min": 0.05, "t_max": 0.95, "final": "t_min"} if solver == "rk45" else {}
    steps = 1 if solver == "rk45" else 5
    options = {"steps": steps, "shape": (3, 4), "seed": 3, "dtype": F64, **ends, **more}
    return torchdiff.sample(net, more.pop("sde", "vp"), solver, **{k: v for k, v in options.items() if k != "sde"})


def read_score(net, level, x=X):
    fed = x * net.scale(level)
    return read(get_sde("vp"), net, x, net(fed, level), level).score


class Counted:
    def __init__(self, net):
        self.net, self.calls = net, 0

    def __call__(self, *inputs, **cond):
        self.calls += 1
        return self.net(*inputs, **cond)


# --- a weaker network ---


@pytest.mark.parametrize("good", PREDICTIONS)
@pytest.mark.parametrize("bad", PREDICTIONS)
@pytest.mark.parametrize("scale", [2.5, 0.0, [2.5, 0.0, 1.0]], ids=str)
def test_the_scores_of_any_two_predictions_add_up(good, bad, scale):
    """score = s_bad + w (s_good - s_bad), whatever each of the two predicts and however it wants its input."""
    level = get_sde("vp").level(0.4)
    strong = wrap(gaussian_net(good, 0.5, 0.3), good)
    scaled = gaussian_net(bad, -0.2, 1.1)
    weak = wrap(lambda x, t: scaled(x / 2.0, t / 10.0), bad, time=10.0, input_scale=lambda level: 2.0)
    one, two = (score(X, mean, var, level.alpha, level.sigma) for mean, var in ((0.5, 0.3), (-0.2, 1.1)))
    weights = wide(torch.as_tensor(scale, dtype=F64), X) if isinstance(scale, list) else scale
    for inner in (strong, wrap(lambda x, t: gaussian_net(good, 0.5, 0.3)(x / 3.0, t), good, None, lambda level: 3.0)):
        ours = read_score(autoguide(inner, weak, scale), level)
        # 1e-12: reading x0 as eps and back multiplies roundings by alpha / sigma and its inverse, 2 here
        torch.testing.assert_close(ours, two + weights * (one - two), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("solver", FEW)
def test_autoguidance_is_its_formula(solver):
    """Every solver: the run with a bad x0 network beside a good eps network is that of the sum of their eps."""
    good, bad = gaussian_net("eps", 0.5, 0.3), gaussian_net("x0", -0.2, 1.1)

    def formula(x, t):
        alpha, sigma = levels("vp", t, x)
        other = (x - alpha * bad(x, t)) / sigma
        return other + 2.0 * (good(x, t) - other)

    ours = run(autoguide(wrap(good, "eps"), wrap(bad, "x0"), 2.0), solver)
    # 1e-10: at the last level eps of an x0 network is (x - alpha x0) / sigma with sigma = 0.01
    torch.testing.assert_close(ours.x, run(wrap(formula, "eps"), solver).x, rtol=1e-10, atol=1e-10)


def test_autoguidance_of_block_sdes():
    """CLD, where the weaker one tells the residual of a mixed score: the scores of the velocity add up."""
    level, v = get_sde("cld").level(0.3), torch.linspace(1.0, -1.0, 12, dtype=F64).reshape(3, 4)
    strong, weak = wrap(lambda x, v, t: x - v, "score"), wrap(lambda x, v, t: 2.0 * x + v, "mixed_score")
    last = level.sigma[-1][-1]
    spread = level.sigma[-1][0] ** 2 + last**2
    one, two = X - v, -v / spread - (2.0 * X + v) / last
    guided = autoguide(strong, weak, 2.5)
    state = torchdiff.blocks.Blocks([X, v])
    ours = read(get_sde("cld"), guided, state, guided(X, v, level), level).score[-1]
    torch.testing.assert_close(ours, two + 2.5 * (one - two), rtol=1e-13, atol=1e-13)
    each = autoguide(strong, weak, [2.5, 2.5, 2.5])
    ours = read(get_sde("cld"), each, state, each(X, v, level), level).score[-1]
    torch.testing.assert_close(ours, two + 2.5 * (one - two), rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize("solver", ["dpmpp_2m", "ddpm", "rk45"])
def test_scale_one_is_the_good_network_and_zero_the_bad_one(solver):
    """Bit for bit where both predict the same; the network that has no weight is never called."""
    nets = Counted(gaussian_net("eps", 0.5, 0.3)), Counted(gaussian_net("eps", -0.2, 1.1))
    strong, weak = (wrap(net, "eps") for net in nets)
    alone = run(strong, solver).x, run(weak, solver).x
    before = [net.calls for net in nets]
    assert torch.equal(run(autoguide(strong, weak, 1.0), solver).x, alone[0])
    assert nets[1].calls == before[1]
    before = [net.calls for net in nets]
    assert torch.equal(run(autoguide(strong, weak, 0.0), solver).x, alone[1])
    assert nets[0].calls == before[0]


def test_outside_the_interval_the_bad_network_is_not_called():
    """One call of the bad network for each level inside, one of the good one for each level."""
    good, bad = Counted(gaussian_net("eps", 0.5, 0.3)), Counted(gaussian_net("eps", -0.2, 1.1))
    out = run(autoguide(wrap(good, "eps"), wrap(bad, "eps"), 2.0, interval=(0.3, 0.7), interval_in="t"), "ddim")
    inside = sum(0.3 < item.at.t <= 0.7 for item in out.plan.items)
    assert (good.calls, bad.calls) == (len(out.plan.items), inside)
    assert 0 < inside < len(out.plan.items)


def test_autoguidance_takes_guided_networks():
    """A classifier-free guided good network beside a guided bad one: four outputs, mixed by the products of weights."""
    nets = [lambda *inputs, label, k=k: k * field(*inputs, label=label) for k in (1.0, 0.7)]
    strong, weak = (guide(wrap(net, "eps"), 3.0, null={"label": 7}) for net in nets)
    both = autoguide(strong, weak, 2.0)
    assert both.mix(get_sde("vp").level(0.4)) == (6.0, -4.0, -3.0, 2.0)

    def formula(x, t, label):
        null = torch.full_like(label, 7)
        one, two = (net(x, t, label=null) + 3.0 * (net(x, t, label=label) - net(x, t, label=null)) for net in nets)
        return two + 2.0 * (one - two)

    for solver in ("dpmpp_2m", "rk45"):
        ours = run(both, solver, cond={"label": LABELS}).x
        # 1e-11: weights of up to 6 multiply the roundings of a dozen calls
        torch.testing.assert_close(
            ours, run(wrap(formula, "eps"), solver, cond={"label": LABELS}).x, rtol=1e-11, atol=1e-11
        )


@pytest.mark.parametrize("interval", [None, (0.3, 0.6)], ids=str)
def test_a_scale_for_each_sample_of_autoguidance(interval):
    """Sample i is, bit for bit, what [scale i] alone gives: with one level for all and with a time for each."""
    strong, weak = wrap(gaussian_net("v", 0.5, 0.3), "v"), wrap(gaussian_net("x0", -0.2, 1.1), "x0")
    scales = [0.0, 1.0, 3.0]
    make = lambda scale: autoguide(strong, weak, scale, interval=interval, interval_in="t")  # noqa: E731
    for solver in ("ddpm", "rk45"):
        together = run(make(scales), solver).x
        for i, scale in enumerate(scales):
            alone = run(make([scale]), solver, shape=(1, 4), first_index=i).x
            assert torch.equal(together[i : i + 1], alone)
            if (
                solver == "ddpm"
            ):  # the error control of rk45 meets the jump at the interval's ends, and doubles roundings
                number = run(make(scale), solver, shape=(1, 4), first_index=i).x
                torch.testing.assert_close(alone, number, rtol=1e-10, atol=1e-10)  # 1e-10: as above


def test_a_bad_network_that_says_nothing_is_refused_before_the_run():
    """At alpha = 0 an eps network does not say what a flow network would."""
    calls = Counted(field)
    guided = autoguide(wrap(calls, "flow"), wrap(calls, "eps"), 2.0)
    with pytest.raises(IncompatibleError, match="predicts 'eps', which at t = 1 .* does not say what 'flow' is"):
        torchdiff.sample(guided, "flow", "ddim", steps=3, shape=(3, 4), seed=0, cond={"label": LABELS})
    assert calls.calls == 0


# --- the gradient of a classifier ---

MEANS, VARIANCE = torch.tensor([0.8, -0.3, -1.2], dtype=F64), 0.3
SPREAD = 1.4  # of the data whatever the class: any number, for p(y | x) is the ratio of the two


def log_prob(x, t, label, sde="vp"):
    """log p(y | x_t) of elements N(MEANS[label], VARIANCE) among N(0, SPREAD), up to what does not depend on x."""
    alpha, sigma = levels(sde, t, x)
    cond = (x - alpha * wide(MEANS[label], x)) ** 2 / (alpha**2 * VARIANCE + sigma**2)
    return -0.5 * (cond - x**2 / (alpha**2 * SPREAD + sigma**2)).flatten(1).sum(1)


@pytest.mark.parametrize("prediction", PREDICTIONS)
@pytest.mark.parametrize("t", [0.05, 0.4, 1.0])
def test_bayes_rule_gives_the_conditional_score(prediction, t):
    """Unconditional score + grad log p(y | x) = the exact conditional score, at every prediction and level."""
    level = get_sde("vp").level(t)
    net = wrap(gaussian_net(prediction, 0.0, SPREAD), prediction)
    ours = read_score(classifier_guide(net, log_prob, cond={"label": LABELS}), level)
    exact = score(X, wide(MEANS[LABELS], X), VARIANCE, level.alpha, level.sigma)
    # 1e-12: a dozen roundings; at t = 1 x0 and v are read by 1 / alpha = 150, at t = 0.05 eps by 1 / sigma = 6
    torch.testing.assert_close(ours, exact, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("solver", FEW)
def test_classifier_guidance_samples_the_class(solver):
    """Every solver: guided by the exact p(y | x) of three classes, its run is that of the exact conditional network."""
    guided = classifier_guide(wrap(gaussian_net("v", 0.0, SPREAD), "v"), log_prob, cond={"label": LABELS})
    exact = network("vp", "v", MEANS, VARIANCE)
    theirs = run(wrap(lambda x, t: exact(x, t, LABELS), "v"), solver)
    torch.testing.assert_close(
        run(guided, solver).x, theirs.x, rtol=1e-11, atol=1e-11
    )  # 150 roundings at alpha = 1/150


def test_a_scale_multiplies_the_gradient():
    """score + w grad log p; w = 0, or outside the interval, calls the network alone and gives its bits."""
    level = get_sde("vp").level(0.4)
    net, classify = wrap(gaussian_net("v", 0.0, SPREAD), "v"), Counted(log_prob)
    plain = score(X, 0.0, SPREAD, level.alpha, level.sigma)
    gain = score(X, wide(MEANS[LABELS], X), VARIANCE, level.alpha, level.sigma) - plain
    for scale in (3.0, [3.0, 0.0, -1.0]):
        ours = read_score(classifier_guide(net, log_prob, scale, cond={"label": LABELS}), level)
        weights = wide(torch.as_tensor(scale, dtype=F64), X) if isinstance(scale, list) else scale
        torch.testing.assert_close(ours, plain + weights * gain, rtol=1e-12, atol=1e-12)
    for off in ({"scale": 0.0}, {"scale": 2.0, "interval": (0.99, 1.0), "interval_in": "t"}):
        quiet = classifier_guide(net, classify, cond={"label": LABELS}, **off)
        assert torch.equal(run(quiet, "ddim", t_max=0.95).x, run(net, "ddim", t_max=0.95).x)
    assert classify.calls == 0


def test_the_classifier_has_its_own_time_and_input():
    """time and input_scale as in wrap: the gradient is by x, whatever the factor before it; the network has others."""
    level = get_sde("vp").level(0.4)
    own = gaussian_net("eps", 0.0, SPREAD)
    net = wrap(lambda x, t: own(x / 3.0, t), "eps", input_scale=lambda level: 3.0)
    scaled = lambda x, t, label: log_prob(x / 2.0, t / 999.0, label)  # noqa: E731
    guided = classifier_guide(net, scaled, cond={"label": LABELS}, time=999.0, input_scale=lambda level: 2.0)
    exact = score(X, wide(MEANS[LABELS], X), VARIANCE, level.alpha, level.sigma)
    torch.testing.assert_close(read_score(guided, level), exact, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("prediction", ["eps", "score"])
def test_for_block_sdes_the_gradient_is_by_the_velocity(prediction):
    """CLD: score_v + w d log p(y | x, v) / dv, with log p = -x v^2 / 2."""
    level, v = get_sde("cld").level(0.3), torch.linspace(1.0, -1.0, 12, dtype=F64).reshape(3, 4)
    factor = {"eps": -1.0 / level.sigma[-1][-1], "score": 1.0}[prediction]
    net = wrap(lambda x, v, t: x + v, prediction)
    for scale in (2.0, [2.0, 2.0, 2.0]):
        guided = classifier_guide(net, lambda x, v, t: (-0.5 * x * v * v).sum(1), scale)
        ours = read(get_sde("cld"), guided, torchdiff.blocks.Blocks([X, v]), guided(X, v, level), level).score[-1]
        torch.testing.assert_close(ours, factor * (X + v) - 2.0 * X * v, rtol=1e-14, atol=1e-14)
    assert torchdiff.sample(guided, "cld", "sscs", steps=3, shape=(3, 4), seed=0, dtype=F64).finite.all()


def test_where_x_is_noise_the_classifier_is_not_asked():
    """alpha = 0: x tells nothing of y; a flow network from t = 1 runs, and the classifier sees every other level."""
    classify = Counted(lambda x, t, label: log_prob(x, t, label, "flow"))
    net = wrap(gaussian_net("flow", 0.0, SPREAD, "flow"), "flow")
    alpha_zero = lambda x, t: x * 0.0 if float(t[0]) == 1.0 else net.net(x, t)  # noqa: E731  # its net divides by alpha
    out = run(classifier_guide(wrap(alpha_zero, "flow"), classify, cond={"label": LABELS}), "ddim", sde="flow")
    assert classify.calls == len(out.plan.items) - 1
    assert out.plan.items[0].mix == (1.0,)


@pytest.mark.parametrize("solver", ["ddpm", "rk45"])
def test_a_scale_for_each_sample_of_a_classifier(solver):
    """Sample i is, bit for bit, what [scale i] alone gives."""
    net, scales = wrap(gaussian_net("v", 0.0, SPREAD), "v"), [0.0, 1.0, 3.0]
    together = run(classifier_guide(net, log_prob, scales, cond={"label": LABELS}), solver).x
    for i, scale in enumerate(scales):
        one = classifier_guide(net, log_prob, [scale], cond={"label": LABELS[i : i + 1]})
        assert torch.equal(together[i : i + 1], run(one, solver, shape=(1, 4), first_index=i).x)


def test_guidances_compose():
    """Classifier around classifier-free around a clipped network, and clipped again: the formula of all of them."""
    inner = clip(wrap(lambda x, t, label: field(x, t, label=label), "x0"), -0.4, 0.4)
    free = guide(inner, 3.0, null={"label": 7})
    whole = clip(classifier_guide(free, log_prob, 0.5, cond={"label": LABELS}), -0.9, 0.9)

    def formula(x, t, label):
        alpha, sigma = levels("vp", t, x)
        cond, null = (field(x, t, label=y).clamp(-0.4, 0.4) for y in (label, torch.full_like(label, 7)))
        x0 = null + 3.0 * (cond - null)
        gain = score(x, wide(MEANS[label], x), VARIANCE, alpha, sigma) - score(x, 0.0, SPREAD, alpha, sigma)
        return (x0 + 0.5 * sigma**2 / alpha * gain).clamp(-0.9, 0.9)  # Tweedie: x0 = (x + sigma^2 score) / alpha

    for solver in ("dpmpp_2m", "ddpm", "rk45"):
        ours = run(whole, solver, cond={"label": LABELS}).x
        theirs = run(wrap(formula, "x0"), solver, cond={"label": LABELS}).x
        torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-10)  # as for a bad x0 network above


@pytest.mark.parametrize("kind", ["auto", "classifier"])
def test_a_seed_is_its_samples_whatever_the_batch(kind):
    """Row 2 of a batch of 3 is the sample of index 2 alone, bit for bit in float32."""
    net, weak = (wrap(lambda x, t, k=k: torch.relu(x) * k - 0.5 * x, "eps") for k in (0.4, 0.2))
    plain = lambda x, t: -0.5 * (x * x * x).sum(1)  # noqa: E731
    guided = autoguide(net, weak, 3.0) if kind == "auto" else classifier_guide(net, plain, 0.1)
    whole = run(guided, "ddpm", dtype=torch.float32, shape=(3, 37)).x
    assert torch.equal(whole[2:], run(guided, "ddpm", dtype=torch.float32, shape=(1, 37), first_index=2).x)
