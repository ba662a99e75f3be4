"""Every built-in process with its defaults, and variants whose options change the formulas; numeric derivatives."""

import pytest

from torchdiff.registry import SDES
from torchdiff.sde import ScalarSDE

VARIANTS = (
    "vp:beta_0=0.2,beta_1=15",
    "vp:beta_0=5,beta_1=5",
    "ve:sigma_max=348",
    "flow:t_max=0.999",
    "cld:beta=0.1,slope=6.9",
    "cld:beta=5,slope=-3",
    "cld:mass=1,beta=1",
    "cld:gamma=0",
    "sub_vp:beta_0=0.2,beta_1=15",
    "cosine:s=0,t_max=0.99",
    "ddpm:schedule=scaled_linear",
    # 16: the times of the tests lie 8e-3 from every knot of the spline, as far as numeric derivatives reach
    "ddpm:schedule=cosine,count=16,beta_end=0.7",
    "ddpm:count=16,beta_start=0.05,beta_end=0.6,zero_snr=true,t_max=0.99",
)


def specs(base=object):
    """Names and variants of the processes that are a `base`; what a plugin or another test registered is not ours."""
    names = (*SDES.names(), *VARIANTS)
    return [s for s in names if isinstance(SDES.get(s), base) and type(SDES.get(s)).__module__.startswith("torchdiff.")]


@pytest.fixture(params=specs())
def sde(request):
    return SDES.get(request.param)


@pytest.fixture(params=specs(ScalarSDE))
def scalar(request):
    return SDES.get(request.param)


@pytest.fixture
def derivative():
    """d/dt of a function of t (floats or arrays) by the central difference of order 8.

    Error: h^8 f''''''''' / 630 from truncation and 3 ulp / h from rounding. The functions here change on scales of
    1 / 20 (beta_1 = 20) or slower, so h = 2e-3 makes both 1e-13 of the largest derivative.
    """
    weights = {1: 4 / 5, 2: -1 / 5, 3: 4 / 105, 4: -1 / 280}

    def differentiate(function, t, h=2e-3):
        return sum(w * (function(t + k * h) - function(t - k * h)) for k, w in weights.items()) / h

    return differentiate
