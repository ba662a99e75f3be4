"""A small class-conditional U-Net for 28 x 28 digits, made to be cheap on a CPU."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

CLASSES = 10
NULL = CLASSES  # the label of "no label": what classifier-free guidance calls the unconditional network
T_MIN = 1e-3


def half_log_snr(t: Tensor) -> Tensor:
    """log(alpha / sigma) = -log(expm1(B)) / 2 of the linear VP process, B(t) = 0.1 t + 9.95 t^2.

    t: (B,) in [T_MIN, 1]; returns (B,), from about 4.55 (nearly clean) down to about -5.02 (nearly noise).
    Source: Song et al. 2021, arXiv:2011.13456, eq. 33 with beta_min = 0.1, beta_max = 20.
    """
    return -0.5 * torch.log(torch.expm1(0.1 * t + 9.95 * t * t))


class Block(nn.Module):
    """x + conv(silu(norm(conv(silu(norm(x)))) * (1 + scale) + shift)), with scale and shift from the condition.

    The last convolution starts at zero, so that a new network is the identity on its residual path.
    Source: the residual block of Dhariwal & Nichol 2021, arXiv:2105.05233, without dropout.
    """

    def __init__(self, channels: int, condition: int):
        super().__init__()
        self.norm1 = nn.GroupNorm(8, channels)
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.film = nn.Linear(condition, 2 * channels)
        self.norm2 = nn.GroupNorm(8, channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)
        nn.init.zeros_(self.conv2.weight)
        nn.init.zeros_(self.conv2.bias)  # pyright: ignore[reportArgumentType]

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        """x (B, channels, H, W), condition (B, condition) -> (B, channels, H, W)."""
        scale, shift = self.film(condition)[:, :, None, None].chunk(2, dim=1)
        h = self.conv1(F.silu(self.norm1(x)))
        h = torch.addcmul(shift, self.norm2(h), 1 + scale)
        return x + self.conv2(F.silu(h))


class Attention(nn.Module):
    """x + project(softmax(q k^T / sqrt(d)) v) over the H W positions, 4 heads."""

    def __init__(self, channels: int, heads: int = 4):
        super().__init__()
        self.heads = heads
        self.norm = nn.GroupNorm(8, channels)
        self.qkv = nn.Linear(channels, 3 * channels)
        self.project = nn.Linear(channels, channels)
        nn.init.zeros_(self.project.weight)
        nn.init.zeros_(self.project.bias)

    def forward(self, x: Tensor) -> Tensor:
        """x (B, C, H, W) -> (B, C, H, W)."""
        rows = self.norm(x).flatten(2).transpose(1, 2)
        q, k, v = self.qkv(rows).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
        return x + self.project(mixed).transpose(1, 2).view(x.shape)


class UNet(nn.Module):
    """v(x, t, label) = alpha eps - sigma x0 for x = alpha x0 + sigma eps, digits in [-1, 1].

    Pixels are first folded 28 x 28 x 1 -> 14 x 14 x 4, so that no convolution runs at full size: the forward pass
    costs a quarter. Two levels, 14 x 14 and 7 x 7, attention at 7 x 7. A row of the output depends on the same row
    of the inputs only (GroupNorm, never BatchNorm).
    Source: v-prediction, Salimans & Ho 2022, arXiv:2202.00512; null class, Ho & Salimans 2022, arXiv:2207.12598.
    """

    def __init__(self, width: int = 48, deep: int = 96, condition: int = 96):
        super().__init__()
        self.register_buffer("frequencies", math.pi / 12 * 1.25 ** torch.arange(16.0), persistent=False)
        self.time = nn.Sequential(nn.Linear(32, condition), nn.SiLU(), nn.Linear(condition, condition))
        self.label = nn.Embedding(CLASSES + 1, condition)
        self.stem = nn.Conv2d(4, width, 3, padding=1)
        self.encode = Block(width, condition)
        self.down = nn.Conv2d(width, deep, 3, stride=2, padding=1)
        self.deep1 = Block(deep, condition)
        self.deep2 = Block(deep, condition)
        self.attention = Attention(deep)
        self.deep3 = Block(deep, condition)
        self.up = nn.Conv2d(deep, 4 * width, 1)
        self.decode = Block(width, condition)
        self.norm = nn.GroupNorm(8, width)
        self.head = nn.Conv2d(width, 4, 3, padding=1)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)  # pyright: ignore[reportArgumentType]

    def forward(self, x: Tensor, t: Tensor, label: Tensor | None = None) -> Tensor:
        """x (B, 1, 28, 28) float, t (B,) in [0, 1], label (B,) int64 in 0..10 or None (all NULL) -> v (B, 1, 28, 28).

        t below T_MIN is embedded as T_MIN, the smallest time of the training: half-log-SNR has no end at t = 0.
        """
        if label is None:
            label = torch.full((len(x),), NULL, device=x.device)
        phase = half_log_snr(t.to(x.dtype).clamp(min=T_MIN))[:, None] * self.frequencies  # pyright: ignore[reportOperatorIssue]
        condition = F.silu(self.time(torch.cat((phase.sin(), phase.cos()), 1)) + self.label(label))
        fine = self.encode(self.stem(F.pixel_unshuffle(x, 2)), condition)
        h = self.attention(self.deep2(self.deep1(self.down(fine), condition), condition))
        # The two levels are added, not concatenated: a concatenation doubles the cost of the dearest block.
        h = self.decode(fine + F.pixel_shuffle(self.up(self.deep3(h, condition)), 2), condition)
        return F.pixel_shuffle(self.head(F.silu(self.norm(h))), 2)
