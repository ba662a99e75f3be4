"""Solvers: one family a file. Importing this package registers the built-in ones."""

from torchdiff.solvers.adams import DEIS, IPNDM, LMS, PLMS
from torchdiff.solvers.ancestral import DPM2Ancestral, DPMpp2SAncestral, DPMppSDE, EulerAncestral
from torchdiff.solvers.base import AffineSolver, Carry, Solver, Span
from torchdiff.solvers.chain import ALD, Chain, Langevin, PredictorCorrector
from torchdiff.solvers.cld_exp import CLDExp
from torchdiff.solvers.ddim import DDIM, DDPM
from torchdiff.solvers.denoise import Denoise
from torchdiff.solvers.dpm_solver import DPMSolver1, DPMSolver2, DPMSolver3
from torchdiff.solvers.dpmpp import DPMpp2M, DPMpp2S, DPMpp3M, DPMpp3S
from torchdiff.solvers.dpmpp_sde import SEEDS2, SEEDS3, DPMpp1SDE, DPMpp2MSDE, DPMpp3MSDE
from torchdiff.solvers.edm import EDM
from torchdiff.solvers.er_sde import ERSDE
from torchdiff.solvers.euler_maruyama import EulerMaruyama
from torchdiff.solvers.exponential_euler import SEEDS1, DPMpp1, EtaFamily, ExpEM
from torchdiff.solvers.flow_ode import ODE, Heun
from torchdiff.solvers.karras import DPM2, Euler
from torchdiff.solvers.res import RES2, RES3
from torchdiff.solvers.reverse_diffusion import Ancestral, ReverseDiffusion
from torchdiff.solvers.rf_ancestral import RFAncestral
from torchdiff.solvers.rk45 import RK45
from torchdiff.solvers.runge_kutta import Adams, RungeKutta
from torchdiff.solvers.sa_solver import SASolver
from torchdiff.solvers.srk import SRK
from torchdiff.solvers.sscs import SSCS, SSCS2M, SSCS2S
from torchdiff.solvers.torchsde import TorchSDE
from torchdiff.solvers.unipc import UniP, UniPC

__all__ = [
    "ALD",
    "DDIM",
    "DDPM",
    "DEIS",
    "DPM2",
    "EDM",
    "ERSDE",
    "IPNDM",
    "LMS",
    "ODE",
    "PLMS",
    "RES2",
    "RES3",
    "RK45",
    "SEEDS1",
    "SEEDS2",
    "SEEDS3",
    "SRK",
    "SSCS",
    "SSCS2M",
    "SSCS2S",
    "Adams",
    "AffineSolver",
    "Ancestral",
    "CLDExp",
    "Carry",
    "Chain",
    "DPM2Ancestral",
    "DPMSolver1",
    "DPMSolver2",
    "DPMSolver3",
    "DPMpp1",
    "DPMpp1SDE",
    "DPMpp2M",
    "DPMpp2MSDE",
    "DPMpp2S",
    "DPMpp2SAncestral",
    "DPMpp3M",
    "DPMpp3MSDE",
    "DPMpp3S",
    "DPMppSDE",
    "Denoise",
    "EtaFamily",
    "Euler",
    "EulerAncestral",
    "EulerMaruyama",
    "ExpEM",
    "Heun",
    "Langevin",
    "PredictorCorrector",
    "RFAncestral",
    "ReverseDiffusion",
    "RungeKutta",
    "SASolver",
    "Solver",
    "Span",
    "TorchSDE",
    "UniP",
    "UniPC",
]  # fmt: skip
