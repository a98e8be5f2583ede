"""The DVAE keeps the multi-grained invariant, and is a plain f8 VAE where every region is fine."""

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from d2it.dvae.model import DynamicVAE, about, kl_divergence, load_dvae, save_dvae
from d2it.grain.codes import copy_codes

CPU = torch.device("cpu")


def dvae(factors: list[int] | None = None, regularizer: str = "kl", seed: int = 0) -> DynamicVAE:
    torch.manual_seed(seed)
    return DynamicVAE(
        channels=8, multipliers=[1, 1, 2, 2], res_blocks=1, regularizer=regularizer, codebook_size=16,
        factors=factors or [8, 16],
    )  # fmt: skip


def photos(n: int = 3, size: int = 64) -> Tensor:
    return torch.rand(n, 3, size, size, generator=torch.Generator().manual_seed(5)) * 2 - 1


def random_map(grains: int, side: int, n: int = 3) -> Tensor:
    return torch.randint(0, grains, (n, side, side), generator=torch.Generator().manual_seed(6))


@pytest.mark.parametrize("factors", [[8], [8, 16], [8, 16, 32], [8, 16, 32, 64]])
@pytest.mark.parametrize("regularizer", ["kl", "vq"])
def test_moments_and_posterior_samples_are_constant_inside_coarse_regions(factors: list[int], regularizer: str) -> None:
    model = dvae(factors, regularizer)
    grain_map = random_map(len(factors), 64 // factors[-1])
    posterior = model.encode(photos(), grain_map)
    noise = copy_codes(torch.randn(posterior.mean.shape), grain_map, model.copies)
    for x in (posterior.mean, posterior.std, posterior.sample(noise)):
        assert torch.equal(x, copy_codes(x, grain_map, model.copies))
    if regularizer == "vq":
        quantized = model.quantize(posterior.mean, grain_map)
        assert torch.equal(quantized, copy_codes(quantized, grain_map, model.copies))


@pytest.mark.parametrize("regularizer", ["kl", "vq"])
def test_a_photo_that_is_no_square_keeps_the_invariant_and_comes_back_in_its_shape(regularizer: str) -> None:
    """A photo of 32 x 64 pixels has 2 x 4 regions; each keeps the invariant."""
    model = dvae([8, 16], regularizer)
    images = torch.rand(2, 3, 32, 64, generator=torch.Generator().manual_seed(5)) * 2 - 1
    grain_map = torch.tensor([[[0, 1, 0, 1], [1, 1, 0, 0]]] * 2)
    mean = model.encode(images, grain_map).mean
    assert mean.shape == (2, 4, 4, 8)
    assert torch.equal(mean, copy_codes(mean, grain_map, model.copies))
    assert model.reconstruct(images, grain_map).shape == images.shape


def test_all_fine_is_the_plain_f8_path() -> None:
    """The fine head alone, without any part of the coarse one."""
    model = dvae()
    encoder = model.encoder
    for part in (encoder.coarser[0], encoder.heads[1]):
        for p in part.parameters():
            p.data.fill_(float("nan"))
    images, all_fine = photos(), torch.ones(3, 4, 4, dtype=torch.long)
    plain = encoder.heads[0](encoder.trunk(encoder.conv_in(images))).chunk(2, 1)[0]
    assert torch.equal(model.encode(images, all_fine).mean, plain)
    assert torch.equal(model.reconstruct(images, all_fine), model.decoder(plain).clamp(-1, 1))


@pytest.mark.parametrize("patch", [2, 4, 8])
def test_patches_are_folded_as_pixel_unshuffle_does_and_unfolded_again(patch: int) -> None:
    """The encoder's first convolution sees whole patches, and the decoder's last one draws them."""
    torch.manual_seed(0)
    levels = {2: [1, 1, 2], 4: [1, 2], 8: [1]}[patch]
    model = DynamicVAE(channels=8, multipliers=levels, res_blocks=1, patch=patch)
    images = photos()
    seen: list[Tensor] = []
    model.encoder.conv_in.register_forward_pre_hook(lambda _, x: seen.append(x[0]))
    drawn: list[Tensor] = []
    model.decoder.conv_out.register_forward_hook(lambda _, __, y: drawn.append(y))
    reconstructed = model.reconstruct(images, random_map(2, 4))
    assert torch.equal(seen[0], nn.functional.pixel_unshuffle(images, patch))
    assert torch.equal(reconstructed, nn.functional.pixel_shuffle(drawn[0], patch).clamp(-1, 1))


def test_all_coarse_is_the_plain_f16_path_copied() -> None:
    model = dvae()
    encoder = model.encoder
    x = encoder.coarser[0](encoder.trunk(encoder.conv_in(photos())))
    plain = encoder.heads[1](x).chunk(2, 1)[0]
    posterior = model.encode(photos(), torch.zeros(3, 4, 4, dtype=torch.long))
    assert torch.equal(posterior.mean[..., ::2, ::2], plain)
    assert torch.equal(posterior.mean[..., 1::2, 1::2], plain)


@pytest.mark.parametrize(("grain", "codes"), [(0, 16), (1, 64)])
def test_kl_counts_a_code_once(grain: int, codes: int) -> None:
    """With μ = 1 and σ = 1 everywhere each value has a KL of 1/2."""
    model = dvae()

    class Constant(nn.Module):
        def forward(self, images: Tensor) -> list[Tensor]:
            return [torch.cat([torch.ones(3, 4, n, n), torch.zeros(3, 4, n, n)], 1) for n in (4, 8)]

    model.encoder = Constant()
    grain_map = torch.full((3, 4, 4), grain)
    kl = kl_divergence(model.encode(photos(), grain_map), grain_map, model.copies)
    assert kl.tolist() == pytest.approx([0.5 * 4 * codes] * 3)


def test_quantizer_is_given_each_code_once_and_copies_what_comes_back() -> None:
    model = dvae(regularizer="vq").eval()
    assert model.quantizer is not None
    grain_map = random_map(2, 4)
    seen: list[Tensor] = []
    model.quantizer.register_forward_hook(lambda _, inputs, __: seen.append(inputs[0]))
    latents = model.encode(photos(), grain_map).mean
    quantized = model.quantize(latents, grain_map)
    expected_codes = int((grain_map == 1).sum()) * 4 + int((grain_map == 0).sum())
    assert seen[0].shape == (expected_codes, 4)
    everywhere = model.quantizer(latents.movedim(1, -1).flatten(0, 2)).view(3, 8, 8, 4).movedim(-1, 1)
    torch.testing.assert_close(quantized, everywhere)


@pytest.mark.parametrize("regularizer", ["kl", "vq"])
def test_a_saved_model_comes_back_with_thresholds_and_scale(tmp_path: Path, regularizer: str) -> None:
    model = dvae(regularizer=regularizer)
    if regularizer == "vq":
        model.quantize(
            model.encode(photos(), random_map(2, 4)).mean, random_map(2, 4)
        )  # its first batch fills the codebook
    model.eval()
    model.thresholds, model.latent_scale, model.data = [2.5], 0.7, "photos"
    save_dvae(tmp_path, model)
    loaded = load_dvae(tmp_path, CPU)
    grain_map = random_map(2, 4)
    assert torch.equal(model.reconstruct(photos(), grain_map), loaded.reconstruct(photos(), grain_map))
    assert (loaded.architecture, about(loaded)) == (model.architecture, about(model))
    assert (loaded.thresholds, loaded.latent_scale, loaded.data) == ([2.5], 0.7, "photos")


def test_ldm_size_encoder_and_decoder_have_ldms_parameter_count() -> None:
    """LDM's KL-f8 autoencoder has 83.65 M parameters: ours with one factor, plus its two 1 x 1 convolutions (92)."""
    with torch.device("meta"):
        model = DynamicVAE(factors=[8])
    quant_convolutions = (8 * 8 + 8) + (4 * 4 + 4)
    assert sum(p.numel() for p in model.parameters()) + quant_convolutions == 83_653_863


def test_each_further_grain_has_residual_blocks_and_then_a_downsampling_block_as_in_the_paper() -> None:
    model = DynamicVAE(channels=8, multipliers=[1, 1, 2, 2], res_blocks=2, factors=[8, 16, 32])
    for coarser in model.encoder.coarser:
        assert [type(block).__name__ for block in coarser] == ["ResBlock", "ResBlock", "Downsample"]
