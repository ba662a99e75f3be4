"""The way to a network and back: half precision, tuples, buffers, energies, joined blocks, conditions, latents."""

from types import SimpleNamespace

import networks
import pytest
import torch

import torchdiff
from torchdiff import Latent, Sampler, wrap
from torchdiff.errors import IncompatibleError, NetworkError, NonFiniteError, OptionError
from torchdiff.planner import plan

SHAPE = (3, 4)
RUN = dict(sde="vp", solver="ddim", steps=5, shape=SHAPE, seed=5)


def run(net, **options):
    return torchdiff.sample(net, **{**RUN, **options})


def eps(x, t):
    """Exact eps on VP: row-wise, smooth, of x's dtype."""
    return networks.ddpm_index(x, 1000.0 * t - 1.0)


EXACT = dict(dtype=torch.float64)
ANSWERS = {
    "a tuple of one": (lambda out: (out,), None),
    "a list of one": (lambda out: [out], None),
    "an object": (lambda out: SimpleNamespace(sample=out), None),
    "first of two": (lambda out: (out, out + 1.0), 0),
    "last of two": (lambda out: (out + 1.0, out), -1),
    "a key": (lambda out: {"eps": out, "aux": out + 1.0}, "eps"),
    "an attribute": (lambda out: SimpleNamespace(prediction=out, sample=out + 1.0), "prediction"),
    "a function": (lambda out: {"half": 0.5 * out}, lambda answer: 2.0 * answer["half"]),
}


@pytest.mark.parametrize("answer", ANSWERS)
def test_the_output_is_found_in_the_answer(answer):
    """Wherever it is, the samples are those of the bare output; the same in a Sampler."""
    pack, output = ANSWERS[answer]
    net = wrap(lambda x, t: pack(eps(x, t)), "eps", output=output)
    wanted = run(wrap(eps, "eps"), **EXACT).x
    assert torch.equal(run(net, **EXACT).x, wanted)
    sampler = Sampler(net, plan("vp", "ddim", steps=5, denoiser=net), shape=SHAPE, dtype=torch.float64)
    assert torch.equal(sampler(None, torch.tensor([5])), wanted)


@pytest.mark.parametrize(
    ("pack", "output", "match"),
    [
        (lambda out: (out, out), None, "returned tuple .* output="),
        (lambda out: (out,), 3, "tuple, which has no 3"),
        (lambda out: {"a": out}, "b", "dict, which has no 'b'"),
        (lambda out: out, "mean_part", "Tensor, which has no 'mean_part'"),
    ],
)
def test_an_answer_without_the_output_is_named(pack, output, match):
    """Two tensors and no word which, an index or a key that is not there."""
    with pytest.raises(NetworkError, match=match):
        run(wrap(lambda x, t: pack(eps(x, t)), "eps", output=output))


class Half(torch.nn.Module):
    """A half-precision network; keeps what it was called with."""

    def __init__(self, dtype):
        super().__init__()
        self.body, self.dtype = torch.nn.Linear(4, 4, dtype=dtype), dtype

    def forward(self, x, t):
        self.seen = (x.dtype, t.dtype)
        return self.body(x)


@pytest.mark.parametrize("state", [torch.float32, torch.float64])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_a_half_network_under_a_finer_state(dtype, state):
    """dtype converts x to it and times to float32; the state stays what it is, as with a cast by hand."""
    torch.manual_seed(0)
    net = Half(dtype)
    out = run(wrap(net, "eps", dtype=dtype), dtype=state)
    assert net.seen == (dtype, torch.float32)
    by_hand = run(wrap(lambda x, t: net(x.to(dtype), t).to(state), "eps"), dtype=state)
    assert torch.equal(out.x, by_hand.x)
    assert out.x.dtype == state
    sampler = Sampler(
        wrap(net, "eps", dtype=dtype), plan("vp", "ddim", steps=5, prediction="eps"), shape=SHAPE, dtype=state
    )
    assert torch.equal(sampler(None, torch.tensor([5])), out.x)


@pytest.mark.parametrize(
    ("words", "seen"),
    [
        ({"dtype": torch.float16, "time_dtype": torch.float16}, (torch.float16, torch.float16)),
        ({"time_dtype": torch.int64, "time": "index"}, (torch.float32, torch.int64)),
        ({"dtype": torch.float64}, (torch.float64, torch.float64)),
    ],
)
def test_times_in_the_dtype_that_the_network_needs(words, seen):
    """Half times for a network that feeds them to its layers, whole ones for a table, double for a double network."""
    got = []

    def net(x, t):
        got.append((x.dtype, t.dtype, float(t[0])))
        return x * 0.0

    run(wrap(net, "eps", **words), steps=None, times=[0.8006, 0.2, 0.001], final="denoise")
    assert [row[:2] for row in got] == [seen] * 3
    wanted = [800.0, 199.0, 0.0] if "time" in words else [0.8006, 0.2, 0.001]  # the index 799.6 is 800
    assert [row[2] for row in got] == pytest.approx(wanted, rel=1e-3)  # float16 has 11 bits


def test_a_dtype_that_does_not_fit_is_named_with_the_way_out():
    """The network's dtype, that of its input, and dtype= as what converts."""
    with pytest.raises(NetworkError, match=r"float16, its input is torch.float32; wrap it with dtype=torch.float16"):
        run(Half(torch.float16), prediction="eps")
    with pytest.raises(NetworkError, match=r"bfloat16, its input is torch.float16; wrap it with dtype=torch.bfloat16"):
        run(wrap(Half(torch.bfloat16), "eps", dtype=torch.float16))
    for words, match in (({"dtype": "half"}, "torch dtype"), ({"dtype": torch.int64}, "floating")):
        with pytest.raises(OptionError, match=match):
            wrap(eps, "eps", **words)


@pytest.mark.parametrize("solver", ["ddim", "dpmpp_2m", "heun"])
def test_a_network_that_reuses_its_buffer(solver):
    """With copy=True the samples are those of a network with fresh outputs; with and without conversions."""
    buffer = torch.empty(SHAPE)

    def reused(x, t):
        return buffer.copy_(eps(x.float(), t.float()))

    wanted = run(wrap(eps, "eps"), solver=solver).x
    assert torch.equal(run(wrap(reused, "eps", copy=True), solver=solver).x, wanted)
    assert torch.equal(run(wrap(lambda x, t: (reused(x, t),), "eps", copy=True, output=0), solver=solver).x, wanted)


def test_conditions_are_each_samples_own():
    """Labels (B,) and conditions (B, ...) reach the network whole; each sample is what it is alone with its own."""

    def net(x, t, label, image):
        return eps(x, t) + 0.1 * label[:, None] + 0.2 * image.mean(dim=1)

    cond = {"label": torch.tensor([1.0, 2.0, 3.0]), "image": torch.arange(24.0).view(3, 2, 4)}
    whole = run(wrap(net, "eps"), cond=cond).x
    for i in range(3):
        own = {name: value[i : i + 1] for name, value in cond.items()}
        alone = run(wrap(net, "eps"), shape=(1, 4), first_index=i, cond=own).x
        assert torch.equal(alone[0], whole[i])


@pytest.mark.parametrize("mode", ["plain", "no_grad", "inference", "grad"])
def test_energies_are_differentiated_in_every_mode(mode):
    """The score of E by autograd under no_grad and inference mode, with a condition; with grad=True to second order."""
    weight = torch.tensor(1.0, dtype=torch.float64, requires_grad=True)

    def energy(x, t, scale):
        return weight * scale * networks.energy(x, t)

    def score(x, t, scale):
        m, std = networks.vp(networks.wide(t, x))
        return weight * scale[:, None] * networks.gap(x, m, std)

    with torch.inference_mode(mode == "inference"), torch.set_grad_enabled(mode != "no_grad"):
        options = dict(cond={"scale": torch.tensor([1.0, 0.9, 1.1], dtype=torch.float64)}, grad=mode == "grad", **EXACT)
        told, wanted = (run(wrap(net, word), **options).x for net, word in ((energy, "energy"), (score, "score")))
        assert (told - wanted).abs().max() <= 1e-13  # rounding of two orders of operations
        assert told.requires_grad == (mode == "grad")
    if mode == "grad":
        grads = [torch.autograd.grad(x.square().sum(), weight)[0] for x in (told, wanted)]
        assert float(grads[0]) == pytest.approx(float(grads[1]), rel=1e-12)


@pytest.mark.parametrize("shape", [(3,), (3, 1)])
def test_an_energy_for_position_and_velocity(shape):
    """E(x, v, t) is differentiated by v; so is E(cat(x, v), t) of a joined network."""

    def score(x, v, t):
        return -(v - 0.3 * x) * 1.5

    def energy(x, v, t):
        return (0.75 * (v - 0.3 * x) ** 2).sum(1).reshape(shape)

    options = dict(sde="cld", solver="euler_maruyama", **EXACT)
    wanted = run(wrap(score, "score"), **options).state
    joined = wrap(lambda u, t: energy(*u.chunk(2, dim=1), t), "energy", joined=True)
    for net in (wrap(energy, "energy"), joined):
        for a, b in zip(run(net, **options).state, wanted, strict=True):
            assert (a - b).abs().max() <= 1e-12 * b.abs().max()  # rounding of 5 steps


@pytest.mark.parametrize(
    ("energy", "match"),
    [
        (lambda x, t: x, r"energy.* shape \(3,\).*got \(3, 4\)"),
        (lambda x, t: x.sum(), r"energy.* shape \(3,\).*got \(\)"),
        (lambda x, t: None, "got NoneType"),
        (lambda x, t: x.detach().sum(1), "does not depend on x"),
        (lambda x, t: t.requires_grad_() * 1.0, "does not depend on the block"),
    ],
)
def test_what_is_no_energy_is_named(energy, match):
    """Another shape, no tensor, or a number without a way back to x."""
    with pytest.raises(NetworkError, match=match):
        run(wrap(energy, "energy"))


def test_misfits_are_told_the_word_for_them():
    """A network of energies or of twice the channels, wrapped as neither, is told by which word it would work."""
    with pytest.raises(NetworkError, match="'energy'"):
        run(wrap(networks.energy, "eps"))
    with pytest.raises(NetworkError, match="variance=True"):
        run(wrap(lambda x, t: torch.cat([x, x], 1), "eps"))
    with pytest.raises(OptionError, match="no variance channels"):
        wrap(networks.energy, "energy", variance=True)


def decoder(z):
    return SimpleNamespace(sample=torch.cat([z, -z], dim=1) * 2.0)


def encoder(x):
    return x[:, : x.shape[1] // 2] / 2.0


@pytest.mark.parametrize("batch", [None, 1, 2, 3, 5])
def test_latents_are_decoded(batch):
    """x is decoded, state the latent, in pieces of at most `batch`; encoding encodes first and does not decode."""
    sizes = []

    def decode(z):
        sizes.append(len(z))
        return decoder(z)

    net = wrap(eps, "eps", latent=Latent(decode, encoder, batch))
    bare, out = run(wrap(eps, "eps")).x, run(net, trajectory=True)
    assert torch.equal(out.state[0], bare)
    assert torch.equal(out.x, decoder(bare).sample)
    assert out.trajectory is not None
    assert torch.equal(out.trajectory[-1], bare)
    assert sizes == ([3] if batch in (None, 3, 5) else [1, 1, 1] if batch == 1 else [2, 1])
    times = [0.1, 0.4, 0.8]
    encoded = run(net, x=out.x, shape=None, steps=None, times=times)
    plainly = run(wrap(eps, "eps"), x=bare, shape=None, steps=None, times=times)
    assert torch.equal(encoded.x, plainly.x)


def test_latents_that_cannot_be_are_named():
    """No encoder where data are encoded, a decoder that loses samples or overflows; a Sampler never decodes."""
    net = wrap(eps, "eps", latent=Latent(decoder))
    with pytest.raises(IncompatibleError, match="no encode"):
        run(net, x=torch.zeros(3, 8), shape=None, steps=None, times=[0.1, 0.8])
    with pytest.raises(NetworkError, match=r"decode returned \(2, 4\) for 3 samples"):
        run(wrap(eps, "eps", latent=Latent(lambda z: z[:2])))
    with pytest.raises(IncompatibleError, match="latent"):
        Sampler(net, plan("vp", "ddim", steps=5, prediction="eps"), shape=SHAPE)
    spoiled = wrap(eps, "eps", latent=Latent(lambda z: z.index_fill(0, torch.tensor([1]), torch.inf)))
    with pytest.raises(NonFiniteError, match="decoder .* sample 1 first, 1 of 3"):
        run(spoiled)
    assert run(spoiled, on_nonfinite="mark").finite.tolist() == [True, False, True]
    with pytest.raises(OptionError, match="torchdiff.Latent of the decoder, got int"):
        wrap(eps, "eps", latent=3)
    for words in ({"decode": 3}, {"decode": decoder, "encode": 3}, {"decode": decoder, "batch": 0}):
        with pytest.raises(OptionError, match="got"):
            Latent(**words)


def test_a_sampler_is_given_its_plans_input_scale():
    """A plan made for another input scale than that of the wrap is refused."""
    made = plan("ve", "ddim", steps=5, prediction="v")
    with pytest.raises(OptionError, match="denoiser = the wrap"):
        Sampler(wrap(eps, "v", input_scale="unit"), made, shape=SHAPE)
