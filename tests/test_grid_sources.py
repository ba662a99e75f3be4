"""Grids against the sources that define them: tables, published formulas, other libraries."""

from __future__ import annotations

import math

import numpy as np
import pytest

from torchdiff.grids.ays import TABLES
from torchdiff.registry import GRIDS
from torchdiff.sde import EDM, VE, DiscreteVP, Flow

diffusers = pytest.importorskip("diffusers")
# NumPy's word to torch, in its schedulers
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
FLOAT32 = 1.2e-7  # two roundings to float32, of the table's end and of the value
# sigma from 0.002 to 80 by rho = 7: the ten values that the formula gives in float64
KARRAS_TABLE = (80, 42.41518931851267, 21.10867673619376, 9.723201355260132, 4.066123602953759, 1.501741979068008)
KARRAS_TABLE += (0.46997905799774714, 0.1166385635251784, 0.020435334553438746, 0.002)


def test_karras_is_the_table():
    """With sigma / alpha from 0.002 to 80, ten points of rho = 7 are the published ones."""
    sde = VE(sigma_min=0.002, sigma_max=80.0, t_min=0.0)
    times = GRIDS.get("karras").times(sde, 9, 1.0, 0.0)
    # sigma = exp(growth t): an ulp of t is growth * eps = 2e-15 of sigma
    assert [sde.level(t).sigma for t in times] == pytest.approx(list(KARRAS_TABLE), rel=1e-12, abs=0)


def test_quadratic_reaches_the_data():
    """t_min = 0 is an end like any other for the grids in t: quadratic times are (1 - i / steps)^2."""
    times = GRIDS.get("quadratic").times(Flow(), 4, 1.0, 0.0)
    assert times == (1.0, 0.5625, 0.25, 0.0625, 0.0)


@pytest.mark.parametrize(
    ("grid", "config", "scheduler"),
    [
        ("karras", "use_karras_sigmas", "EulerDiscreteScheduler"),
        ("exponential", "use_exponential_sigmas", "EulerDiscreteScheduler"),
        ("beta_sigma", "use_beta_sigmas", "EulerDiscreteScheduler"),
        ("karras", "use_karras_sigmas", "DPMSolverMultistepScheduler"),
        ("exponential", "use_exponential_sigmas", "UniPCMultistepScheduler"),
        ("beta_sigma", "use_beta_sigmas", "HeunDiscreteScheduler"),
    ],
)
def test_sigmas_are_those_of_diffusers(grid, config, scheduler):
    """n sigmas of a scheduler are steps = n - 1 between its own ends, which are given: its table of betas is float32.

    One step has no counterpart: the scheduler goes from its first sigma to the data, here that is times=[t, 0].
    """
    made = getattr(diffusers, scheduler)(beta_schedule="scaled_linear", **{config: True})
    for n in (2, 3, 10, 25, 50, 1000):
        made.set_timesteps(n)
        theirs = list(dict.fromkeys(made.sigmas.tolist()))[:n]  # Heun's has each twice; the rest is the last 0
        sde = EDM(t_min=theirs[-1], t_max=theirs[0])  # t is sigma
        ours = GRIDS.get(grid).times(sde, n - 1)
        assert (ours[0], ours[-1]) == (theirs[0], theirs[-1])
        assert ours == pytest.approx(theirs, rel=FLOAT32, abs=0)


@pytest.mark.parametrize("end", [500.0, 700.0])
def test_ends_are_those_given_and_not_the_formulas(end):
    """sigma_max stays what it is, where (sigma_max^(1 / 7))^7 misses it by ulps; diffusers' EDM grid lies between."""
    assert (end ** (1 / 7)) ** 7 != end
    made = diffusers.EDMEulerScheduler(sigma_min=0.002, sigma_max=end)
    made.set_timesteps(20)
    ours = GRIDS.get("karras").times(EDM(t_min=0.002, t_max=end), 19)
    assert (ours[0], ours[-1]) == (end, 0.002)
    assert ours == pytest.approx(made.sigmas.tolist()[:-1], rel=FLOAT32, abs=0)


@pytest.mark.parametrize("shift", [0.5, 1.0, 3.0, 17.0])
def test_shift_is_that_of_diffusers(shift):
    """Flow sigmas of a static shift; diffusers shifts its last sigma, 1 / 1000, twice, and here it is given."""
    made = diffusers.FlowMatchEulerDiscreteScheduler(shift=shift)
    for n in (2, 4, 28, 50, 1000):
        made.set_timesteps(n)
        theirs = made.sigmas.tolist()
        ours = GRIDS.get(f"shift:shift={shift}").times(Flow(), n - 1, t_min=theirs[-2])
        # near 1 the coordinate loses what the given end has: float32 of 1 / 1000 has lost 3e-8 of itself, times shift
        assert ours == pytest.approx(theirs[:-1], rel=FLOAT32 * max(1.0, shift), abs=0)


@pytest.mark.parametrize("tokens", [256, 1024, 4096, 9216])
def test_resolution_shift_is_that_of_diffusers(tokens):
    """Dynamic shifting of the sigmas that its FLUX pipeline gives: 1 to 1 / n, then the data, so t_min = 0."""
    made = diffusers.FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True)
    config = made.config
    slope = (config.max_shift - config.base_shift) / (config.max_image_seq_len - config.base_image_seq_len)
    for n in (1, 4, 28, 50):
        mu = slope * tokens + config.base_shift - slope * config.base_image_seq_len
        made.set_timesteps(sigmas=np.linspace(1.0, 1.0 / n, n), mu=mu)
        ours = GRIDS.get(f"resolution_shift:tokens={tokens}").times(Flow(), n)
        # its sigmas are float32 before the shift, which takes up to exp(mu) of their rounding, and after it
        assert ours == pytest.approx(made.sigmas.tolist(), rel=FLOAT32 * math.exp(mu), abs=0)


def test_shift_is_the_formula():
    """On the flow from 1 to 0: s u / (1 + (s - 1) u) of u in equal steps, SD3's equation 23."""
    u = 1.0 - np.arange(41) / 40
    for s in (0.3, 1.0, 3.0, 12.0):
        ours = GRIDS.get(f"shift:shift={s}").times(Flow(), 40)
        assert ours == pytest.approx(s * u / (1.0 + (s - 1.0) * u), rel=1e-14, abs=0)  # a logarithm and its inverse


@pytest.mark.parametrize("threshold", [0.025, 0.3])
def test_linear_quadratic_is_mochis(threshold):
    """1 - q_i of Mochi's polynomial a i^2 + b i + c; q is continuous with its slope at half of the steps."""
    for n in (2, 3, 7, 8, 50, 64):
        half, rest = n // 2, n - n // 2
        lack = half - threshold * n
        a = lack / (half * rest**2)
        b = threshold / half - 2.0 * lack / rest**2
        q = [threshold * i / half if i < half else a * i**2 + b * i + a * half**2 for i in range(n)] + [1.0]
        ours = GRIDS.get(f"linear_quadratic:threshold={threshold}").times(Flow(), n)
        assert ours == pytest.approx(1.0 - np.array(q), rel=0, abs=1e-14)  # the polynomial cancels n^2 = 4096 ulp


def spacing(kind, n, **config):
    made = diffusers.DDIMScheduler(timestep_spacing=kind, **config)
    made.set_timesteps(n)
    return made.timesteps.tolist()


@pytest.mark.parametrize(("spec", "offset"), [("linspace", 0), ("leading", 0), ("leading:offset=1", 1)])
def test_spacings_are_those_of_diffusers(spec, offset):
    """Timesteps of n steps are the times of n - 1, bit for bit: the table's (i + 1) / N. leading by 1 stops at 999."""
    sde = DiscreteVP()
    for n in [*range(2, 51), 64, 333, 500, 999, *([] if offset else [1000])]:
        theirs = [sde.time(i) for i in spacing(spec.partition(":")[0], n, steps_offset=offset)]
        assert list(GRIDS.get(spec).times(sde, n - 1)) == theirs


def test_trailing_is_that_of_diffusers():
    """Timesteps of n steps are the times of n, and then the data; but for two roundings that are diffusers' own.

    Where 1000 k / n is a half, numpy.arange has added up other than a half, so that the index is the other of two. And
    where it ends above 0 by a rounding (n = 61, 103, ...), diffusers has one timestep more, of index -1.
    """
    sde = DiscreteVP()
    for n in [*range(1, 66), 96, 103, 128, 1000]:
        ours = [round(1000 * t) - 1 for t in GRIDS.get("trailing").times(sde, n)]
        theirs = spacing("trailing", n)
        assert ours[-1] == -1
        for k, (i, j) in enumerate(zip(ours[:-1], theirs, strict=False)):
            half = 2000 * k % n == 0 and 2000 * k // n % 2 == 1
            assert i == j or (half and abs(i - j) == 1)
            assert not half or i % 2 == 1  # index + 1 is the even one of the two
        assert len(theirs) == n or theirs == [*ours[:-1], -1]


def test_multistep_spacings_are_those_of_diffusers():
    """Its DPM schedulers take n + 1 points and leave out the last: linspace and leading of n steps, up to that one."""
    sde = DiscreteVP()
    for kind in ("linspace", "leading"):
        made = diffusers.DPMSolverMultistepScheduler(timestep_spacing=kind)
        for n in (1, 2, 7, 10, 20, 50):
            made.set_timesteps(n)
            assert list(GRIDS.get(kind).times(sde, n)[:-1]) == [sde.time(i) for i in made.timesteps.tolist()]


@pytest.mark.parametrize(
    ("model", "name"), [("sd15", "StableDiffusion"), ("sdxl", "StableDiffusionXL"), ("svd", "StableDiffusionVideo")]
)
def test_ays_is_the_published_table(model, name):
    """Ten steps visit the sigmas that diffusers has too, but for its 0; its timesteps are the same levels."""
    from diffusers.schedulers import AysSchedules

    sigmas = AysSchedules[f"{name}Sigmas"]
    assert list(TABLES[model][:-1]) == sigmas[:-1]
    sde = EDM(t_min=TABLES[model][-1], t_max=TABLES[model][0])
    assert GRIDS.get(f"ays:model={model}").times(sde, 10) == pytest.approx(TABLES[model], rel=1e-14, abs=0)
    if model == "svd":
        return
    process = DiscreteVP("scaled_linear")
    times = GRIDS.get(f"ays:model={model}").times(process, 10)
    indices = [process.index(process.level(t)) for t in times]
    # sigmas are rounded to 3 places, which at index 24 (0.152) is half an index; theirs are whole
    assert indices[:-1] == pytest.approx(AysSchedules[f"{name}Timesteps"], abs=1.0)


@pytest.mark.parametrize("model", TABLES)
def test_ays_goes_along_the_logarithms(model):
    """Other numbers of steps: the table interpolated in log sigma over its index, as NVIDIA's page says."""
    table = np.array(TABLES[model])
    for n in (1, 5, 20, 25, 99):
        ours = GRIDS.get(f"ays:model={model}").times(EDM(t_min=table[-1], t_max=table[0]), n)
        wanted = np.exp(np.interp(np.linspace(0, 10, n + 1), np.arange(11), np.log(table)))
        assert ours == pytest.approx(wanted, rel=1e-13, abs=0)  # an exponential of up to 6.6 ulp


def test_laplace_is_comfyuis_between_the_ends():
    """log sigma = mu - beta sign(1/2 - x) log(1 - |1 - 2 x| + 1e-5), x in equal steps, where no clip is at work.

    The ends here are its own, at x = 0 and 1; its 1e-5 moves log sigma by beta 1e-5 / (1 - |1 - 2 x|), 1e-4 at most.
    """
    for mu, beta in ((0.0, 0.5), (-1.2, 0.8)):
        x = np.arange(1, 20) / 20
        wanted = mu - beta * np.sign(0.5 - x) * np.log(1.0 - np.abs(1.0 - 2.0 * x) + 1e-5)
        reach = beta * 40.0  # the tails beyond it are 2e-18
        sde = EDM(t_min=math.exp(mu - reach), t_max=math.exp(mu + reach))
        ours = GRIDS.get(f"laplace:mu={mu},beta={beta}").times(sde, 20)
        assert np.log(ours[1:-1]) == pytest.approx(wanted, rel=0, abs=1e-4)
        assert ours[10] == pytest.approx(math.exp(mu), rel=1e-15)


def test_beta_is_the_quantile_function():
    """t_min + (t_max - t_min) ppf(1 - i / n): ComfyUI's beta_scheduler before it rounds to indices."""
    from scipy import stats

    for alpha, beta in ((0.6, 0.6), (0.5, 0.7)):
        times = GRIDS.get(f"beta:alpha={alpha},beta={beta}").times(DiscreteVP(), 30)
        places = stats.beta.ppf(1.0 - np.linspace(0, 1, 30, endpoint=False), alpha, beta)
        assert times[:-1] == pytest.approx(1e-3 + (1.0 - 1e-3) * places, rel=1e-15, abs=0)
