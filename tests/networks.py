"""Exact networks for data N(MEAN, VAR) in every element, each written as its source writes it, in float64.

None of them reads a torchdiff level: they get what the source gives them, and find alpha and sigma from that.
"""

from __future__ import annotations

import torch

from torchdiff import get_sde

MEAN, VAR = 0.3, 0.25


def wide(t, x):
    return t.reshape(-1, *[1] * (x.dim() - 1))


def vp(t):
    """m(t) and std(t) of score_sde's VPSDE with beta 0.1 to 20."""
    log_mean = -0.25 * t**2 * (20.0 - 0.1) - 0.5 * t * 0.1
    return log_mean.exp(), (-torch.expm1(2.0 * log_mean)).sqrt()


def gap(x, alpha, sigma):
    """The score of N(alpha MEAN, alpha^2 VAR + sigma^2)."""
    return -(x - alpha * MEAN) / (alpha**2 * VAR + sigma**2)


def denoised(y, s):
    """E[x0 | y] for y = x0 + s n, by Tweedie's formula."""
    return y + s**2 * gap(y, 1.0, s)


def score_sde_vp(x, labels):
    """score = -net / std; labels = 999 t."""
    mean, std = vp(wide(labels / 999.0, x))
    return -gap(x, mean, std) * std


def score_sde_sub_vp(x, labels):
    """The same on subVPSDE, whose std is 1 - m(t)^2."""
    mean, std = vp(wide(labels / 999.0, x))
    return -gap(x, mean, std**2) * std**2


def score_sde_ve(x, labels):
    """score = net; labels = the standard deviation of the noise."""
    return gap(x, 1.0, wide(labels, x))


def ddpm_index(x, labels):
    """eps = -std score; labels 0 .. 999, step i at t = (i + 1) / 1000."""
    mean, std = vp(wide((labels + 1.0) / 1000.0, x))
    return -gap(x, mean, std) * std


def edm_raw(scaled, c_noise, data=0.5):
    """F of D(y; s) = c_skip y + c_out F(c_in y; c_noise)."""
    s = torch.exp(4.0 * wide(c_noise, scaled))
    c_skip, c_out = data**2 / (s**2 + data**2), s * data / (s**2 + data**2) ** 0.5
    y = scaled * (s**2 + data**2) ** 0.5
    return (denoised(y, s) - c_skip * y) / c_out


def k_diffusion(y, s):
    """D(y; s)."""
    return denoised(y, wide(s, y))


def edm_preconditioned(y, s, data=0.5):
    """The same from F, with the factors of EDM inside."""
    c_skip, c_out = data**2 / (s**2 + data**2), s * data / (s**2 + data**2) ** 0.5
    return wide(c_skip, y) * y + wide(c_out, y) * edm_raw(y * wide((s**2 + data**2) ** -0.5, y), s.log() / 4.0, data)


def straight(x, t):
    """E[noise - data | x] on x = (1 - t) data + t noise."""
    alpha, sigma = 1.0 - t, t
    spread = alpha**2 * VAR + sigma**2
    return ((sigma - alpha * VAR) * (x - alpha * MEAN)) / spread - MEAN


def rectified(x, t):
    return straight(x, wide(t, x))


def rectified_1000(x, t):
    return straight(x, wide(t / 1000.0, x))


def flow_matching(x, t):
    """E[data - noise | x] on x = t data + (1 - t) noise."""
    return -straight(x, 1.0 - wide(t, x))


def energy(x, t):
    """E with p = exp(-E) / Z on score_sde's VPSDE, (B,)."""
    mean, std = vp(wide(t, x))
    return ((x - mean * MEAN) ** 2 / (2.0 * (mean**2 * VAR + std**2))).flatten(1).sum(1)


def v_by_log_snr(x, log_snr):
    """v = alpha eps - sigma x0, alpha^2 = sigmoid(log_snr)."""
    alpha, sigma = wide(log_snr, x).sigmoid().sqrt(), (-wide(log_snr, x)).sigmoid().sqrt()
    eps = -sigma * gap(x, alpha, sigma)
    return alpha * eps - sigma * (x - sigma * eps) / alpha


def x0_net(sde):
    """The exact x0 network of ours for an SDE, from its levels: what the others are held against."""
    process = get_sde(sde)

    def net(x, t):
        level = process.level(float(t[0]))
        return MEAN + level.alpha * VAR * (x - level.alpha * MEAN) / (level.alpha**2 * VAR + level.sigma**2)

    return net


# name -> (network, wrap's words, sde)
KNOWN = {
    "score_sde VP": (score_sde_vp, {"prediction": "score_sde"}, "vp"),
    "score_sde VP in words": (score_sde_vp, {"prediction": "eps", "time": 999}, "vp"),
    "score_sde sub-VP": (score_sde_sub_vp, {"prediction": "score_sde"}, "sub_vp"),
    "score_sde VE": (score_sde_ve, {"prediction": "score_sde_ve"}, "ve"),
    "DDPM index": (ddpm_index, {"prediction": "ddpm"}, "vp"),
    "DDPM index in words": (ddpm_index, {"prediction": "eps", "time": "index"}, "vp"),
    "DDPM index by a function": (ddpm_index, {"prediction": "eps", "time": lambda level: 1000 * level.t - 1}, "vp"),
    "EDM F on VE": (edm_raw, {"prediction": "edm"}, "ve"),
    "EDM F on EDM": (edm_raw, {"prediction": "edm"}, "edm"),
    "EDM F on VP": (edm_raw, {"prediction": "edm"}, "vp"),
    "EDM F on flow": (edm_raw, {"prediction": "edm"}, "flow:t_min=0.02,t_max=0.98"),
    "EDM F, sigma_data 1": (lambda x, t: edm_raw(x, t, 1.0), {"prediction": "edm:sigma_data=1"}, "ve"),
    "EDM D on VP": (edm_preconditioned, {"prediction": "k_diffusion"}, "vp"),
    "k-diffusion on VP": (k_diffusion, {"prediction": "k_diffusion"}, "vp"),
    "k-diffusion on VE": (k_diffusion, {"prediction": "k_diffusion"}, "ve"),
    "rectified flow": (rectified, {"prediction": "flow"}, "flow"),
    "rectified flow, 1000 t": (rectified_1000, {"prediction": "flow", "time": 1000}, "flow"),
    "flow matching": (flow_matching, {"prediction": "flow_matching"}, "flow"),
    "energy": (energy, {"prediction": "energy"}, "vp"),
    "v by log SNR": (v_by_log_snr, {"prediction": "v", "time": "log_snr"}, "vp"),
}
