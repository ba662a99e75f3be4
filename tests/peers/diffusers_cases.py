"""The schedulers of diffusers that have a counterpart here, with the options that make them equal."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch

COUNTS = (1, 2, 3, 4, 5, 10, 20, 50)
# Their state is float64 all the way with float64 tables: what is left is the rounding of some dozen operations a step.
EXACT = 1e-12
LOSSY = 1e-11  # one step on eps from alpha = 0.006 is the difference of two terms 1e4 times its result
SHIPPED = 1e-5  # bar for those that cast their state to float32 in each step; measured 1e-6 at most
TRAILING, LEADING = {"timestep_spacing": "trailing"}, {"timestep_spacing": "leading"}


@dataclass(frozen=True)
class Case:
    """peer: the class, without "Scheduler". solver: our spec, or two, for fewer than 15 steps and for more.

    shown: the options that tell, as the table has them; options: more of its constructor; step: those of its step.
    edit changes the scheduler's grid; every: how many of its calls are one step of ours; bound, shipped: how far the
    ends may be apart with float64 casts and with those it ships.
    """

    peer: str
    solver: str | tuple[str, str]
    shown: dict[str, Any] = field(default_factory=dict)
    options: dict[str, Any] = field(default_factory=dict)
    step: dict[str, Any] = field(default_factory=dict)
    predictions: tuple[str, ...] = ("epsilon", "v_prediction")
    counts: tuple[int, ...] = COUNTS
    every: int = 1
    edit: Callable[[Any], None] | None = None
    bound: float = EXACT
    shipped: float = EXACT
    note: str = ""

    def spec(self, steps: int) -> str:
        return self.solver if isinstance(self.solver, str) else self.solver[steps >= 15]

    @property
    def theirs(self) -> str:
        words = [f"{name}={shown(value)}" for name, value in (self.shown | self.step).items()]
        return f"{self.peer}Scheduler({', '.join(words)})" if words else f"{self.peer}Scheduler"

    def __str__(self) -> str:
        return f"{self.theirs} = {self.spec(15)}"


def shown(value: Any) -> str:
    return "tau" if callable(value) else repr(value)


def constant(tau: float) -> Callable[[Any], torch.Tensor]:
    return lambda t: torch.tensor(tau, dtype=torch.float64)


def even(scheduler: Any) -> None:
    """Even steps in log-SNR, so that every second or third point of the grid is the middle or a third of a step."""
    sigmas = torch.exp(torch.linspace(4.0, -2.0, len(scheduler.timesteps) + 1, dtype=torch.float64))
    sigmas[-1] *= float(scheduler.sigmas[-1] > 0.0)
    scheduler.sigmas = sigmas


def cut(scheduler: Any) -> None:
    """From sigma = 0.98 down: where alpha = 0 our solvers take DDIM's step."""
    scheduler.sigmas = 0.98 * scheduler.sigmas


def double(scheduler: Any) -> None:
    scheduler.sigmas = scheduler.sigmas.double()


def cut_table(scheduler: Any) -> None:
    scheduler.betas = 0.98 * scheduler.betas
    scheduler.alphas = (1.0 - scheduler.betas**2) ** 0.5


def final(spec: str) -> tuple[str, str]:
    """lower_order_final: below 15 steps only."""
    return f"{spec}{',' if ':' in spec else ':'}lower_final=true", spec


ALL = ("epsilon", "sample", "v_prediction")
MULTISTEP = (  # algorithm, order, solver_type, ours
    ("dpmsolver++", 1, "midpoint", "dpm_solver_1"),
    ("dpmsolver++", 2, "midpoint", "dpmpp_2m"),
    ("dpmsolver++", 2, "heun", "dpmpp_2m:variant=taylor"),
    ("dpmsolver++", 3, "midpoint", "dpmpp_3m:compat=diffusers"),
    ("dpmsolver++", 3, "heun", "dpmpp_3m:compat=k_diffusion"),
    ("sde-dpmsolver++", 1, "midpoint", "dpmpp_1_sde"),
    ("sde-dpmsolver++", 2, "midpoint", "dpmpp_2m_sde"),
    ("sde-dpmsolver++", 2, "heun", "dpmpp_2m_sde:variant=taylor"),
    ("sde-dpmsolver++", 3, "midpoint", "dpmpp_3m_sde:compat=diffusers"),
)
SIGMA_MIN = {"final_sigmas_type": "sigma_min"}
FLOW = {"use_flow_sigmas": True, "prediction_type": "flow_prediction", "flow_shift": 3.0}


def multistep(algorithm: str, order: int, kind: str) -> dict[str, Any]:
    words: dict[str, Any] = {"algorithm_type": algorithm, "solver_order": order}
    return words | ({"solver_type": kind} if order == 2 or kind == "heun" else {})


CASES = (
    *(
        Case("DDIM", f"ddim:eta={eta}" if eta else "ddim", {}, {"clip_sample": False} | LEADING, {"eta": eta}, ALL)
        for eta in (0.0, 0.5, 1.0)
    ),
    Case("DDPM", "ddpm", {}, {"clip_sample": False} | LEADING, predictions=ALL),
    Case("DDPM", "ddpm:variance=fixed_large", {"variance_type": "fixed_large"}, {"clip_sample": False} | LEADING,
         note="on a grid that ends at t = 0"),
    Case("EulerDiscrete", "euler", {}, TRAILING, predictions=ALL, shipped=SHIPPED),
    Case("EulerAncestralDiscrete", "euler_ancestral", {}, TRAILING, shipped=SHIPPED),
    Case("HeunDiscrete", "heun", {}, TRAILING, predictions=ALL),
    Case("KDPM2Discrete", "dpm2", {}, TRAILING),
    Case("KDPM2AncestralDiscrete", "dpm2_ancestral", {}, TRAILING),
    Case("LMSDiscrete", "lms", {}, TRAILING, predictions=ALL),
    Case("DPMSolverSDE", "dpmpp_sde", {}, TRAILING),
    Case("PNDM", "plms", {"skip_prk_steps": True}, LEADING | {"set_alpha_to_one": True}, predictions=("epsilon",),
         note="epsilon only: of v it sums the raw outputs"),
    Case("PNDM", "plms", {"skip_prk_steps": True, "set_alpha_to_one": False}, LEADING | {"steps_offset": 1},
         predictions=("epsilon",), counts=COUNTS[1:], note="from 2 steps on: alone, its first step is Euler's"),
    *(
        Case("DPMSolverMultistep", spec if order < 3 else final(spec), multistep(algorithm, order, kind), TRAILING,
             predictions=ALL, shipped=SHIPPED)
        for algorithm, order, kind, spec in MULTISTEP
    ),
    *(
        Case("DPMSolverMultistep", final(spec), multistep(algorithm, order, kind) | SIGMA_MIN, TRAILING,
             shipped=SHIPPED)
        for algorithm, order, kind, spec in MULTISTEP if order > 1
    ),
    Case("DPMSolverMultistep", final("deis:order=2,basis=log_snr"), multistep("dpmsolver", 2, "heun") | SIGMA_MIN,
         TRAILING, counts=COUNTS[1:], bound=LOSSY, shipped=SHIPPED,
         note="from 2 steps on: float32 loses 4 digits in one"),
    Case("DPMSolverMultistep", "dpmpp_2m", {"use_flow_sigmas": True}, FLOW, predictions=("flow_prediction",),
         shipped=SHIPPED),
    Case("DPMSolverSinglestep", "dpmpp_2s", {"solver_order": 2}, counts=(1, 3, 5, 11, 21), every=2, edit=even,
         note="even steps in log-SNR, an odd number of calls"),
    Case("DPMSolverSinglestep", "dpmpp_2s:variant=taylor", {"solver_order": 2, "solver_type": "heun"},
         counts=(1, 3, 5, 11, 21), every=2, edit=even, note="as above"),
    *(
        Case("UniPCMultistep", f"unipc:order={order},variant={kind},lower_final=true",
             {"solver_order": order, "solver_type": kind} | (SIGMA_MIN if kind == "bh1" else {}), TRAILING,
             predictions=ALL, note="its bh1 is nan at sigma = 0" if kind == "bh1" else "")
        for order in (1, 2, 3) for kind in ("bh1", "bh2")
    ),
    Case("UniPCMultistep", "unipc:lower_final=true", {"use_flow_sigmas": True}, FLOW, predictions=("flow_prediction",)),
    *(
        Case("DEISMultistep", final(f"deis:order={order},basis=log_snr"), {"solver_order": order}, TRAILING,
             predictions=ALL, bound=LOSSY, shipped=LOSSY)
        for order in (1, 2, 3)
    ),
    *(
        Case("SASolver", f"sa_solver:predictor={p},corrector={c},tau={tau},compat=diffusers,lower_final=true",
             {"predictor_order": p, "corrector_order": c}, TRAILING | {"tau_func": constant(tau)}, bound=bound,
             shipped=bound, note=f"tau = {tau:g}" + (why and f"; {why}"))
        for p, c, tau, bound, why in (
            (1, 1, 1.0, EXACT, ""), (2, 2, 0.0, EXACT, ""), (2, 2, 1.0, EXACT, ""), (3, 3, 0.5, EXACT, ""),
            (3, 4, 1.0, 1e-10, "it integrates powers of the log-SNR itself, which cancel"),
        )
    ),
    Case("IPNDM", "ipndm", {}, predictions=("v_prediction",), edit=cut_table, note="the network predicts v, alpha > 0"),
    Case("EDMEuler", "euler", predictions=("edm",), shipped=SHIPPED),
    *(
        Case("EDMDPMSolverMultistep", spec if order < 3 else final(spec), multistep(algorithm, order, kind),
             predictions=("edm",))
        for algorithm, order, kind, spec in (*MULTISTEP[1:5], *MULTISTEP[6:8])
    ),
    Case("CosineDPMSolverMultistep", "dpmpp_2m_sde", {}, predictions=("v_prediction",)),
    *(
        Case("LTXEulerAncestralRF", f"rf_ancestral:eta={eta}", {"eta": eta}, predictions=("flow",), edit=double,
             bound=1e-10, shipped=SHIPPED, note="it adds 1e-12 to alpha, which is 0.05")
        for eta in (0.5, 1.0)
    ),
    Case("FlowMatchEulerDiscrete", "euler", {}, {"shift": 3.0}, predictions=("flow_prediction",), shipped=SHIPPED),
    Case("FlowMatchHeunDiscrete", "ode:method=heun", {}, {"shift": 3.0}, predictions=("flow_prediction",), edit=cut,
         shipped=SHIPPED, note="alpha > 0: at alpha = 0 ours is DDIM"),
)  # fmt: skip
