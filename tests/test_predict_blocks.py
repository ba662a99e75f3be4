"""What a network's output means for position and velocity: the score of the block that noise drives."""

import numpy as np
import pytest
import torch

from torchdiff.blocks import Blocks
from torchdiff.denoiser import PREDICTIONS, Denoiser
from torchdiff.errors import IncompatibleError
from torchdiff.predict import check_prediction, read
from torchdiff.sde import CLD, VP

EPS = 2.0**-52


def said(sde, level, prediction, x, output):
    return read(sde, Denoiser(None, prediction), x, (output,), level)


@pytest.mark.parametrize("sde", [CLD(), CLD(beta=0.1, slope=6.9), CLD(mass=1.0, beta=1.0), CLD(gamma=0.0)], ids=repr)
def test_block_score_is_the_gradient(sde):
    """On CLD the velocity's score is the last entry of -cov^-1 (u - mean): for "score" networks and for "eps" ones."""
    for t in (1e-3, 0.05, 0.4, 1.0):
        level = sde.level(t)
        cov = np.array(level.sigma) @ np.array(level.sigma).T
        z = np.random.default_rng(1).standard_normal((2, 32))
        gap = np.array(level.sigma) @ z
        score = torch.tensor(-np.linalg.solve(cov, gap)[1])
        x = Blocks(torch.tensor(row) for row in gap)
        told = {"eps": torch.tensor(z[1]), "score": score}
        for prediction, output in told.items():
            model = said(sde, level, prediction, x, output)
            top, bottom = model.score
            assert not top.any()
            # solving with cov loses its condition number, in units of the largest entry
            assert (bottom - score).abs().max() <= 4 * EPS * np.linalg.cond(cov) * score.abs().max()
            drift, push = np.array(sde.drift(t)), np.array(sde.noise(t)) @ np.array(sde.noise(t)).T
            wanted = drift @ gap - 0.5 * push @ np.stack([np.zeros(32), bottom.numpy()])
            assert np.abs(np.stack(model.velocity) - wanted).max() <= 16 * EPS * np.abs(wanted).max()


def test_block_eps_without_noise_is_an_error():
    """At t = 0 from rest the velocity has no noise: an eps network cannot be read there."""
    sde, x = CLD(gamma=0.0), torch.ones(2)
    with pytest.raises(IncompatibleError, match="t = 0"):
        said(sde, sde.level(0.0), "eps", Blocks((x, x)), x)


def test_predictions_without_meaning_for_blocks_are_named():
    """On CLD a network predicts the velocity's score or eps; anything else is an error that says so."""
    for prediction in PREDICTIONS:
        check_prediction(VP(), prediction)
        if prediction in ("eps", "score"):
            check_prediction(CLD(), prediction)
        else:
            with pytest.raises(IncompatibleError, match=rf"{prediction!r} has no meaning for CLD"):
                check_prediction(CLD(), prediction)
