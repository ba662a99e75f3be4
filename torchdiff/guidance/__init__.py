"""Denoisers around denoisers: guidance by conditions, by a weaker network or by a classifier, and bounds on x0."""

from torchdiff.guidance.auto import AutoGuided, autoguide
from torchdiff.guidance.bounds import Clipped, Thresholded, clip, threshold
from torchdiff.guidance.classifier import ClassifierGuided, classifier_guide
from torchdiff.guidance.free import Guided, guide

__all__ = [
    "AutoGuided",
    "ClassifierGuided",
    "Clipped",
    "Guided",
    "Thresholded",
    "autoguide",
    "classifier_guide",
    "clip",
    "guide",
    "threshold",
]
