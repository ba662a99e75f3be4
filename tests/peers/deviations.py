"""Where a peer's formula is not the published one, or is wrong: what it does, and how far ours is from it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple

from diffusers_cases import CASES, TRAILING, Case
from diffusers_loop import meet
from ours import distance, run

import torchdiff

STEPS = 10


class Deviation(NamedTuple):
    theirs: str
    does: str
    ours: str
    way: str  # our spec that is theirs, or why there is none
    apart: Callable[[], float]


def between(sde, ours, way):
    """How far two of our solvers end from each other: `way` is theirs, as the cases say."""
    process = torchdiff.get_sde(sde)
    times = torchdiff.plan(process, ours, steps=STEPS).grid
    ends = [run(process, spec, [level.t for level in times], "x0")[0] for spec in (ours, way)]
    return lambda: distance(*ends)


def peer(case, ours, prediction="epsilon"):
    return lambda: meet(case, STEPS + (case.every > 1), prediction, spec=ours)[0]


def one(name, **shown):
    return next(case for case in CASES if case.peer == name and shown.items() <= case.shown.items())


def known(theirs, does, ours, way):
    """A deviation that `compat` offers."""
    return Deviation(theirs, does, ours, way, between("vp", ours, way))


HALVED = "the second divided difference without its factor 2: of order 2, not 3"
DEVIATIONS = (
    known("diffusers `DPMSolverMultistepScheduler(solver_order=3)`, DPM-Solver's own code", HALVED, "dpmpp_3m",
          "dpmpp_3m:compat=diffusers"),
    known("k-diffusion `sample_dpmpp_3m_sde`", "the same; with noise both are of weak order 2", "dpmpp_3m_sde",
          "dpmpp_3m_sde:compat=k_diffusion"),
    known("diffusers `DPMSolverMultistepScheduler(algorithm_type='sde-dpmsolver++', solver_order=3)`",
          "the same, and - 1/2 in the place of + 1/2 in the weight of D_2: order 1", "dpmpp_3m_sde",
          "dpmpp_3m_sde:compat=diffusers"),
    known("diffusers `SASolverScheduler`, SA-Solver's own code",
          "with two predictions, the exponential weight is left out where it meets their slope: order 2 all the same",
          "sa_solver:predictor=2,corrector=2", "sa_solver:predictor=2,corrector=2,compat=diffusers"),
    known("diffusers `UniPCMultistepScheduler`, UniPC's own code",
          "fewer predictions in the last steps, the last one DDIM: of order 2", "unipc:order=3",
          "unipc:order=3,lower_final=true"),
    known("diffusers `DEISMultistepScheduler`",
          "takes eps as a polynomial in log(sigma / alpha); the paper in t or sigma / alpha",
          "deis:order=3", "deis:order=3,basis=log_snr"),
    Deviation("diffusers `PNDMScheduler(prediction_type='v_prediction')`",
              "sums the raw outputs: the Adams sum of v is not that of eps", "plms", "no: give it a network of eps",
              peer(one("PNDM"), "plms", "v_prediction")),
    Deviation("diffusers `DDIMScheduler(timestep_spacing='trailing')`",
              "steps to t - 1000 // N, which is off its own grid where N does not divide 1000 (11 steps)", "ddim",
              "no: its grid is not what it says",
              lambda: meet(Case("DDIM", "ddim", {}, {"clip_sample": False} | TRAILING), 11, "epsilon")[0]),
    Deviation("diffusers `DPMSolverSinglestepScheduler(solver_order=3)`",
              "another method of order 3: the paper integrates the line through x0 and x0_1/3 on the way to 2/3",
              "dpmpp_3s", "no: ours is the paper's",
              peer(replace(one("DPMSolverSinglestep"), shown={"solver_order": 3}, every=3), "dpmpp_3s")),
    Deviation("diffusers `DDPMScheduler(variance_type='fixed_large')`",
              "adds noise to the data, in a last step that is not at t = 0", "ddpm:variance=fixed_large",
              "no: it is noise on the samples",
              peer(Case("DDPM", "ddpm", {"variance_type": "fixed_large"}, {"clip_sample": False} | TRAILING),
                   "ddpm:variance=fixed_large")),
    Deviation("diffusers `FlowMatchHeunDiscreteScheduler`", "Heun's step where alpha = 0; ours is DDIM's",
              "ode:method=heun", "begin at t_max=0.999",
              peer(replace(one("FlowMatchHeunDiscrete"), edit=None), "ode:method=heun", "flow_prediction")),
)  # fmt: skip
