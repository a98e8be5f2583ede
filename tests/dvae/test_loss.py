"""DVAE losses: adversarial weight, cap and start, finite gradients on constant images."""

import pytest
import torch
from torch import Tensor, nn

from d2it.dvae.discriminator import PatchDiscriminator, adaptive_weight, hinge_loss, last_layer_gradients
from d2it.dvae.loss import AutoencoderLoss, adversarial_share, autoencoder_loss
from d2it.dvae.model import DynamicVAE
from tests.dvae.test_model import dvae, photos, random_map


def loss(
    images: Tensor, model: DynamicVAE, discriminator: PatchDiscriminator, adversarial_weight: float
) -> AutoencoderLoss:
    """Of three images on a random grain map; a weight of 0: the discriminator has not joined."""
    noise = torch.randn(3, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    joined = discriminator if adversarial_weight else None
    return autoencoder_loss(
        model, images, random_map(2, 4), noise, discriminator=joined, adversarial_weight=adversarial_weight
    )


def weight_of(reconstruction: Tensor, adversarial: Tensor, last: Tensor, cap: float) -> Tensor:
    return adaptive_weight(last_layer_gradients(reconstruction, adversarial, last), cap)


def test_hinge_loss_is_zero_beyond_the_margin_and_one_at_indifference() -> None:
    assert float(hinge_loss(torch.full((5,), 1.5), torch.full((5,), -2.0))) == 0
    assert float(hinge_loss(torch.zeros(5), torch.zeros(5))) == 1


def test_adaptive_weight_is_the_ratio_of_gradient_norms_at_the_last_layer() -> None:
    last = nn.Parameter(torch.tensor([1.0, 2.0]))
    for cap, expected in ((10, 3), (0.75, 0.75)):
        weight = weight_of((6 * last).sum(), (2 * last).sum(), last, cap)
        assert float(weight) == pytest.approx(expected, rel=1e-3)


def test_summed_losses_with_their_cap_are_means_with_theirs() -> None:
    """LDM sums the reconstruction over an image's values; its loss is ours times their number, and so are the caps."""
    last = nn.Parameter(torch.tensor([1.0, 2.0]))
    values = 64 * 64 * 3
    for cap in (0.1, 10.0):
        mean = weight_of((6 * last).sum(), (2 * last).sum(), last, cap)
        summed = weight_of((6 * values * last).sum(), (2 * last).sum(), last, cap * values)
        torch.testing.assert_close(summed, mean * values)


def test_the_adversarial_term_has_its_weight() -> None:
    model, maps, noise = dvae(), random_map(2, 4), torch.zeros(3, 4, 8, 8)
    losses = autoencoder_loss(
        model, photos(), maps, noise, kl_weight=0.0, discriminator=lambda images: 3 * images,
        adversarial_weight=torch.tensor(0.5),
    )  # fmt: skip
    expected = losses.numbers["l1"] + 0.5 * losses.numbers["adversarial"]
    torch.testing.assert_close(losses.loss.detach(), expected, rtol=0, atol=1e-7)


def test_the_discriminator_joins_at_its_start_and_warms_up() -> None:
    before, first, later, full, last = (adversarial_share(seen, 1000, 100) for seen in (999, 1000, 1050, 1100, 10**6))
    assert before == 0
    assert 0 < first < later < 1
    assert full == last == 1
    assert adversarial_share(9, 10, 0) == 0
    assert adversarial_share(10, 10, 0) == 1


@pytest.mark.parametrize("regularizer", ["kl", "vq"])
@pytest.mark.parametrize("level", [-1.0, 0.0, 1.0])
def test_gradients_are_finite_on_constant_images(regularizer: str, level: float) -> None:
    model, discriminator = dvae(regularizer=regularizer), PatchDiscriminator(8, 2)
    images = torch.full((3, 3, 64, 64), level)
    losses = loss(images, model, discriminator, 0.75)
    (losses.loss + hinge_loss(discriminator(images), discriminator(losses.reconstructions))).backward()
    gradients = [p.grad for module in (model, discriminator) for p in module.parameters() if p.grad is not None]
    assert gradients
    assert all(bool(g.isfinite().all()) for g in gradients)


@pytest.mark.parametrize(("weight", "seen", "moves"), [(0.75, 0, False), (0.75, 10, True), (0.0, 10, False)])
def test_the_adversarial_term_moves_the_autoencoder_only_after_its_start(weight: float, seen: int, moves: bool) -> None:
    model, discriminator = dvae(), PatchDiscriminator(8, 2)
    losses = loss(photos(), model, discriminator, weight * adversarial_share(seen, 10, 0))
    plain = loss(photos(), model, discriminator, 0.0)
    assert ("adversarial" in losses.numbers) is moves
    assert (losses.gradients is not None) is moves
    last = model.decoder.conv_out.weight
    moved, unmoved = (torch.autograd.grad(x.loss, last)[0] for x in (losses, plain))
    assert torch.equal(moved, unmoved) is not moves


def test_the_kl_and_perceptual_terms_have_their_weights() -> None:
    model, maps, noise = dvae(), random_map(2, 4), torch.zeros(3, 4, 8, 8)
    weights = {"kl_weight": 0.5, "perceptual_weight": 2.0}
    losses = autoencoder_loss(model, photos(), maps, noise, perceptual=lambda a, b: torch.tensor(7.0), **weights)
    terms = losses.numbers["l1"] + 0.5 * losses.numbers["kl"] / (3 * 64 * 64) + 2.0 * 7.0
    torch.testing.assert_close(losses.loss.detach(), terms)


def test_gradients_of_the_adaptive_weight_of_a_whole_are_the_means_of_its_parts() -> None:
    """So a step's weight does not depend on how its batch is cut."""
    model, discriminator, maps = dvae(), PatchDiscriminator(8, 2), random_map(2, 4)
    noise = torch.randn(3, 4, 8, 8, generator=torch.Generator().manual_seed(0))

    def gradients(part: slice) -> Tensor:
        losses = autoencoder_loss(model, photos()[part], maps[part], noise[part], discriminator=discriminator)
        assert losses.gradients is not None
        return losses.gradients

    whole, parts = gradients(slice(3)), (2 * gradients(slice(2)) + gradients(slice(2, 3))) / 3
    torch.testing.assert_close(parts, whole, atol=1e-6, rtol=1e-4)
    assert float(adaptive_weight(parts, 1e4)) == pytest.approx(float(adaptive_weight(whole, 1e4)), rel=1e-3)
