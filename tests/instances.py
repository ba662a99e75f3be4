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
PAIRS = [(solver, sde) for sde in SDE_SPECS for solver in SOLVER_SPECS if fits(solver, sde)]
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
