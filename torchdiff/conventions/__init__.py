"""What networks return and how they want to be called, by name."""

from torchdiff.conventions.base import CONVENTIONS, SCALES, TIMES, Convention
from torchdiff.conventions.elementary import X0, Energy, Eps, Flow, Score, V
from torchdiff.conventions.presets import DDPM, EDM, FlowMatching, KDiffusion, MixedScore, ScoreSDE, ScoreSDEVE

register_convention, list_conventions = CONVENTIONS.register, CONVENTIONS.names

__all__ = [
    "CONVENTIONS", "DDPM", "EDM", "SCALES", "TIMES", "X0", "Convention", "Energy", "Eps", "Flow", "FlowMatching",
    "KDiffusion", "MixedScore", "Score", "ScoreSDE", "ScoreSDEVE", "V",
    "list_conventions", "register_convention",
]  # fmt: skip
