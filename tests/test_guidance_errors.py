"""What guidance refuses: each error says what came, what was expected and the way out."""

import math
from dataclasses import replace

import pytest
import torch

import torchdiff
from torchdiff import autoguide, classifier_guide, clip, guide, threshold, wrap
from torchdiff.errors import IncompatibleError, NetworkError, OptionError

NET = wrap(lambda x, t, label=None: x, "eps")
NULL = {"label": 7}
NAN, INF = math.nan, math.inf


def guided(scale=3.0, **options):
    return guide(NET, scale, **{"null": NULL, **options})


MAKE = {
    "a scale that is nan": (lambda: guided(NAN), ["finite", "nan"]),
    "one of a batch": (lambda: guided([1.0, NAN]), ["finite", "nan"]),
    "infinite": (lambda: autoguide(NET, NET, INF), ["finite", "inf"]),
    "two dimensions": (lambda: guided(torch.ones(2, 3)), ["(B,)", "shape (2, 3)"]),
    "a scale for nobody": (lambda: guided([]), ["number", "[]"]),
    "a word": (lambda: guided("high"), ["number", "'high'"]),
    "True": (lambda: classifier_guide(NET, len, True), ["number", "True"]),
    "a bare network": (lambda: guide(torch.relu, 3.0, null=NULL), ["torchdiff.wrap", "relu"]),
    "a bare bad network": (lambda: autoguide(NET, torch.relu, 3.0), ["bad", "torchdiff.wrap"]),
    "no side": (lambda: guide(NET, 3.0), ["null", "negative", "None"]),
    "both sides": (lambda: guided(negative=NULL), ["one of null and negative"]),
    "an empty side": (lambda: guided(null={}), ["{'label': 10}", "null = {}"]),
    "no mapping": (lambda: guided(null=7), ["null = 7"]),
    "shared and not": (lambda: guided(shared=("label",)), ["shared", "label"]),
    "shared letters": (lambda: guided(shared="size"), ["names", "'size'"]),
    "guided twice": (lambda: guide(guided(), 2.0, null=NULL), ["Guided stands between", "around"]),
    "rescale": (lambda: guided(rescale=1.5), ["[0, 1]", "1.5"]),
    "rescale nan": (lambda: guided(rescale=NAN), ["[0, 1]", "nan"]),
    "empty interval": (lambda: guided(interval=(2.0, 1.0)), ["low < high", "(2.0, 1.0)"]),
    "interval of nan": (lambda: guided(interval=(NAN, 1.0)), ["low < high", "nan"]),
    "half an interval": (lambda: guided(interval=1.0), ["(low, high)", "1.0"]),
    "a clock": (lambda: guided(interval=(0, 1), interval_in="step"), ["'sigma' or 't'", "'step'"]),
    "no classifier": (lambda: classifier_guide(NET, 3), ["log_prob", "3"]),
    "a wrapped classifier": (lambda: classifier_guide(NET, NET), ["log_prob", "Denoiser"]),
    "a clip upside down": (lambda: clip(NET, 1.0, -1.0), ["low < high", "1.0, -1.0"]),
    "a clip of nan": (lambda: clip(NET, NAN, 1.0), ["low < high", "nan"]),
    "a quantile of percent": (lambda: threshold(NET, 99.5), ["(0, 1]", "99.5"]),
    "a bound of 0": (lambda: threshold(NET, bound=0.0), ["positive", "0.0"]),
    "a clipped network": (lambda: clip(torch.relu), ["torchdiff.wrap", "relu"]),
}


@pytest.mark.parametrize("case", MAKE)
def test_what_cannot_be_meant_is_refused_at_once(case):
    """By guide, autoguide, classifier_guide, clip and threshold themselves."""
    make, parts = MAKE[case]
    with pytest.raises(OptionError) as error:
        make()
    assert all(part in str(error.value) for part in parts), str(error.value)


LABELS = torch.tensor([0, 1, 2])
RUN = {
    "a scale for another batch": (guided([1.0, 2.0]), {"label": LABELS}, ["2 numbers", "batch of 3"]),
    "a condition that is not given": (guided(null={"class": 7}), {"label": LABELS}, ["'class'", "given label"]),
    "no condition at all": (guided(), {}, ["'label'", "no condition"]),
    "a side with less": (guided(), {"label": LABELS, "size": 3}, ["'size'", "shared=('size',)"]),
    "no number": (guided(null={"label": None}), {"label": LABELS}, ["None", "batched=False"]),
    "another batch": (guided(null={"label": LABELS[:2]}), {"label": LABELS}, ["shape (2,)", "batch of 3"]),
    "another length": (
        guided(null={"label": torch.ones(1, 5)}),
        {"label": torch.ones(3, 4)},
        ["(3, 4)", "(3, 5)", "padding"],
    ),
    "a fraction of a class": (guided(null={"label": 0.5}), {"label": LABELS}, ["int64", "float32"]),
    "a function that is nan": (guided(lambda level: NAN), {"label": LABELS}, ["nan at t = 1", "finite"]),
}


@pytest.mark.parametrize("case", RUN)
def test_what_does_not_fit_the_batch_is_refused_before_any_call(case):
    """By `sample`, in words; the network is not called."""
    net, cond, parts = RUN[case]
    calls = []

    def network(x, t, **cond):
        calls.append(1)
        return x

    net = replace(net, inner=wrap(network, "eps"))
    with pytest.raises(OptionError) as error:
        torchdiff.sample(net, "vp", "ddim", steps=2, shape=(3, 2), seed=0, cond=cond)
    assert all(part in str(error.value) for part in parts), str(error.value)
    assert not calls


def test_a_label_that_no_table_has_is_named():
    """An index outside of the network's table: a NetworkError with the conditions and their range, not a bare index."""
    table = torch.nn.Embedding(8, 2)
    net = guide(wrap(lambda x, t, label: x + table(label), "eps"), 3.0, null=NULL)
    for labels, words in ((torch.tensor([0, 8, 2]), "from 0 to 8"), (torch.tensor([0, -1, 2]), "from -1 to 7")):
        with pytest.raises(NetworkError, match=rf"failed at t = 1: index out of range.*label of shape \(6,\) {words}"):
            torchdiff.sample(net, "vp", "ddim", steps=2, shape=(3, 2), seed=0, cond={"label": labels})


def test_a_classifier_says_one_number_a_sample():
    """Logits are not log p(y | x)."""
    net = classifier_guide(wrap(lambda x, t: x, "eps"), lambda x, t: x[:, :1] * torch.ones(1, 5))
    with pytest.raises(NetworkError, match=r"shape \(3,\), one number a sample.*\(3, 5\)"):
        torchdiff.sample(net, "vp", "ddim", steps=2, shape=(3, 2), seed=0)


def test_a_second_opinion_on_the_prediction_is_an_error():
    """As for a wrap: sample(..., prediction=...) beside a guided v network must say v."""
    net = guide(wrap(lambda x, t, label: x, "v"), 3.0, null=NULL)
    with pytest.raises(OptionError, match="predicting 'v'"):
        torchdiff.sample(net, "vp", "ddim", steps=2, shape=(3, 2), prediction="eps", cond={"label": LABELS})


def test_an_interval_of_sigma_has_no_meaning_for_block_sdes():
    """CLD has no sigma / alpha; t it has."""
    net = wrap(None, "score")
    with pytest.raises(IncompatibleError, match="2 blocks"):
        torchdiff.plan("cld", "sscs", steps=2, denoiser=guide(net, 3.0, null=NULL, interval=(0.1, 1.0)))
    one = guide(net, 3.0, null=NULL, interval=(0.1, 1.0), interval_in="t")
    assert torchdiff.plan("cld", "sscs", steps=2, denoiser=one).calls == 3
