"""The generated tables of docs/equivalence.md: `python tests/peers/tables.py` writes them anew."""

from __future__ import annotations

import re
import sys
from pathlib import Path

DOCUMENT = Path(__file__).parents[2] / "docs" / "equivalence.md"
BETWEEN = re.compile(r"(<!-- begin (\w+) -->\n)(.*?)(<!-- end \2 -->)", re.DOTALL)
UI = {  # function of k-diffusion: the name in AUTOMATIC1111's list, the name in ComfyUI's
    "sample_euler": ("Euler", "euler"),
    "sample_euler_ancestral": ("Euler a", "euler_ancestral"),
    "sample_heun": ("Heun", "heun"),
    "sample_dpm_2": ("DPM2", "dpm_2"),
    "sample_dpm_2_ancestral": ("DPM2 a", "dpm_2_ancestral"),
    "sample_lms": ("LMS", "lms"),
    "sample_dpmpp_2s_ancestral": ("DPM++ 2S a", "dpmpp_2s_ancestral"),
    "sample_dpmpp_sde": ("DPM++ SDE", "dpmpp_sde"),
    "sample_dpmpp_2m": ("DPM++ 2M", "dpmpp_2m"),
    "sample_dpmpp_2m_sde": ("DPM++ 2M SDE", "dpmpp_2m_sde"),
    "sample_dpmpp_3m_sde": ("DPM++ 3M SDE", "dpmpp_3m_sde"),
}


def table(heads, rows):
    lines = [heads, ["---"] * len(heads), *rows]
    return "".join(f"| {' | '.join(map(str, line))} |\n" for line in lines)


def code(text):
    return f"`{text}`"


def call(name, options):
    return code(f"{name}({', '.join(f'{key}={value!r}' for key, value in options.items())})" if options else name)


def diffusers_rows():
    from diffusers_cases import CASES

    found = {}
    for case in CASES:
        below = "" if isinstance(case.solver, str) else "`lower_final=true` below 15 steps"
        notes = "; ".join(filter(None, (below, case.note)))
        found[code(case.theirs), code(case.spec(15)), f"{case.bound:g}", f"{case.shipped:g}", notes] = None
    return table(("diffusers", "torchdiff", "in float64", "as shipped", "note"), found)


def k_diffusion_rows():
    from k_diffusion_loop import CASES

    rows = [(call(name, options), *UI[name], code(solver), "1e-12") for solver, name, options in CASES]
    return table(("k-diffusion", "AUTOMATIC1111", "ComfyUI", "torchdiff", "in float64"), rows)


def azula_rows():
    from azula_loop import CASES

    rows = [(call(name, options), code(solver), code(sde), "1e-12") for solver, name, options, sde in CASES]
    return table(("azula", "torchdiff", "on", "in float64"), rows)


def deviation_rows():
    from deviations import DEVIATIONS

    rows = [
        (one.theirs, one.does, code(one.ours), f"{one.apart():.0e}", one.way if " " in one.way else code(one.way))
        for one in DEVIATIONS
    ]
    return table(("theirs", "what it does", "torchdiff", "apart at 10 steps", "to get theirs"), rows)


TABLES = {
    "diffusers": diffusers_rows,
    "k_diffusion": k_diffusion_rows,
    "azula": azula_rows,
    "deviations": deviation_rows,
}


def rendered(text):
    """The document with every generated table made anew."""
    return BETWEEN.sub(lambda found: found[1] + TABLES[found[2]]() + found[4], text)


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[2]))
    DOCUMENT.write_text(rendered(DOCUMENT.read_text(encoding="utf-8")), encoding="utf-8")
