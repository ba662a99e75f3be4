"""What every law is parametrised over: each registered SDE and solver, by default and with its telling options."""

from __future__ import annotations

import math

import torch

from torchdiff import get_sde, get_solver, list_sdes, list_solvers
from torchdiff.errors import IncompatibleError
from torchdiff.solvers.base import check_fit

SDE_VARIANTS = {
    "flow": ["flow:t_min=0.02,t_max=0.98"],
    "cld": ["cld:beta=0.1,slope=6.9", "cld:mass=1,beta=1,t_max=3"],
}
VARIANTS = {
    "cld_exp": ["cld_exp:eta=1"],
    "ddim": ["ddim:eta=0.5", "ddim:eta=1"],
    "ddpm": ["ddpm:variance=fixed_large"],
    "ode": ["ode:method=euler"],
    "adams": ["adams:order=1", "adams:order=3,start=single", "adams:order=4,start=single,coordinate=log_snr"],
    "deis": ["deis:order=2,basis=rho", "deis:order=4,start=single", "deis:order=3,start=single,basis=log_snr"],
    "dpm2_ancestral": ["dpm2_ancestral:eta=0"],
    "dpmpp_1_sde": ["dpmpp_1_sde:eta=0.5"],
    "dpmpp_2m_sde": ["dpmpp_2m_sde:variant=taylor", "dpmpp_2m_sde:eta=0"],
    "dpmpp_2s": ["dpmpp_2s:variant=taylor,r=0.7"],
    "dpmpp_2s_ancestral": ["dpmpp_2s_ancestral:eta=0"],
    "dpmpp_3m": ["dpmpp_3m:start=single", "dpmpp_3m:compat=diffusers"],
    "dpmpp_3m_sde": ["dpmpp_3m_sde:compat=k_diffusion"],
    "dpmpp_sde": ["dpmpp_sde:eta=0"],
    "edm": ["edm:churn=20"],
    "er_sde": ["er_sde:order=1,scaler=sde", "er_sde:order=3,scaler=ode,start=single"],
    "eta_family": ["eta_family:temperature=0.5"],
    "euler_ancestral": ["euler_ancestral:eta=0.5"],
    "ipndm": ["ipndm:order=2"],
    "lms": ["lms:order=4,start=single", "lms:order=2"],
    "rf_ancestral": ["rf_ancestral:eta=0"],
    "rk": [
        "rk:tableau=heun3",
        "rk:tableau=dopri5",
        "rk:tableau=rk38,coordinate=log_snr",
        "rk:tableau=ssp3,coordinate=sigma",
        "rk:tableau=butcher5",
    ],
    "res_3": ["res_3:c2=0.3,c3=0.8"],
    "sa_solver": ["sa_solver:tau=0", "sa_solver:tau=0.5,predictor=2,corrector=0", "sa_solver:mode=pece"],
    "seeds_1": ["seeds_1:eta=0.5"],
    "seeds_2": ["seeds_2:r=0.3"],
    "seeds_3": ["seeds_3:eta=0"],
    "unip": ["unip:order=3,start=single", "unip:order=1", "unip:variant=bh1"],
    "unipc": ["unipc:order=3", "unipc:order=1", "unipc:variant=bh1"],
    "langevin": ["langevin:repeat=2"],
    "predictor_corrector": [
        "predictor_corrector:predictor=dpmpp_2m,corrector=(ald:repeat=2)",
        "predictor_corrector:predictor=heun,corrector=(langevin:norm=batch)",
    ],
}


def specs(names: list[str], variants: dict[str, list[str]]) -> list[str]:
    return [spec for name in names for spec in (name, *variants.get(name, []))]


def fits(solver: str, sde: str) -> bool:
    try:
        check_fit(get_solver(solver), get_sde(sde))
    except IncompatibleError:
        return False
    return True


SDE_SPECS = specs(list_sdes(), SDE_VARIANTS)
SOLVER_SPECS = specs(list_solvers(), VARIANTS)
# Every solver is run on these; on the other processes those whose formula does not go through log-SNR and ratio alone.
HOMES = ("vp", "flow", "cld")
TRAVELLERS = (
    "ancestral", "ddim", "ddpm", "dpmpp_2m", "euler_maruyama", "heun", "langevin", "ode", "predictor_corrector",
    "reverse_diffusion", "sscs", "torchsde",
)  # fmt: skip


def met(solver: str, sde: str) -> bool:
    return sde in HOMES or solver.partition(":")[0] in TRAVELLERS


PAIRS = [(solver, sde) for sde in SDE_SPECS for solver in SOLVER_SPECS if met(solver, sde) and fits(solver, sde)]
MOVERS = [(solver, sde) for solver, sde in PAIRS if get_solver(solver).parts()[-1].moves]


def field(*inputs: torch.Tensor) -> torch.Tensor:
    """A row-wise network with bounded slope and exact zeros nowhere; for blocks it contracts the velocity."""
    *blocks, t = inputs
    time = t.reshape(-1, *[1] * (blocks[0].dim() - 1))
    return 0.3 * torch.tanh(sum(blocks)) - 0.5 * blocks[-1] + 0.1 * torch.cos(3.0 * time)


def prediction_for(sde: str) -> str:
    """A prediction that is defined at every level of this SDE's default range."""
    process = get_sde(sde)
    if process.blocks > 1:
        return "score"
    return "flow" if math.isclose(process.level(process.t_max).alpha, 0.0) else "eps"
