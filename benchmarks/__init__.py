"""Timings of torchdiff against eager torch, torch.compile, diffusers and torchsde: `make bench` writes RESULTS.md.

No case asserts a speed: it records a ratio, with the bar it should reach. paired.py says how a ratio is measured,
report.py how it is written down.
"""
