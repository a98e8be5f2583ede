"""LDM's autoencoder as initial weights: the DVAE computes what diffusers computes, where it has its layers."""

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from d2it.dvae.kl_f8 import read_autoencoder_kl
from d2it.dvae.model import DynamicVAE
from d2it.initial import DIFFUSERS_WEIGHTS
from d2it.saved import SavedModelError

SIZES = {"channels": 128, "multipliers": (1, 1, 1, 1), "res_blocks": 1}


def autoencoder(folder: Path, **changes: Any) -> Any:
    """diffusers' own, with random weights and, as LDM's, four levels; saved into a folder."""
    from diffusers import AutoencoderKL

    torch.manual_seed(0)
    kind = {
        "block_out_channels": (128,) * 4, "down_block_types": ("DownEncoderBlock2D",) * 4,
        "up_block_types": ("UpDecoderBlock2D",) * 4, "layers_per_block": 1, "latent_channels": 4,
    }  # fmt: skip
    theirs = AutoencoderKL(**kind | changes)
    with torch.no_grad():
        for parameter in theirs.parameters():
            parameter.add_(0.02 * torch.randn_like(parameter))
    theirs.save_pretrained(folder)
    return theirs.eval()


@torch.no_grad()
def test_an_image_that_is_fine_everywhere_has_their_codes_and_their_reconstruction(tmp_path: Path) -> None:
    theirs, ours = autoencoder(tmp_path), DynamicVAE(**SIZES).eval()
    read_autoencoder_kl(ours, tmp_path)
    images, fine = torch.rand(2, 3, 64, 64) * 2 - 1, torch.ones(2, 4, 4, dtype=torch.int64)
    posterior, expected = ours.encode(images, fine), theirs.encode(images).latent_dist
    torch.testing.assert_close(posterior.mean, expected.mean, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(posterior.std, expected.std, atol=1e-4, rtol=1e-4)
    theirs.post_quant_conv.bias.zero_()  # with it the outermost codes differ
    theirs.save_pretrained(tmp_path)
    read_autoencoder_kl(ours, tmp_path)
    decoded = theirs.decode(expected.mean).sample
    torch.testing.assert_close(ours.decode(expected.mean, fine), decoded, atol=1e-3, rtol=1e-3)


def test_only_what_ldms_autoencoder_lacks_keeps_its_initial_weights(tmp_path: Path) -> None:
    autoencoder(tmp_path)
    torch.manual_seed(1)
    ours = DynamicVAE(**SIZES)
    before = {name: p.detach().clone() for name, p in ours.named_parameters()}
    taken = read_autoencoder_kl(ours, tmp_path)
    kept = [name for name, p in ours.named_parameters() if torch.equal(p, before[name])]
    assert kept
    assert all(name.startswith(("encoder.coarser", "encoder.heads.1")) for name in kept)
    assert taken == sum(p.numel() for name, p in ours.named_parameters() if name not in kept)


def test_stable_diffusions_old_names_of_attention_mean_the_same(tmp_path: Path) -> None:
    autoencoder(tmp_path)
    new = DynamicVAE(**SIZES)
    read_autoencoder_kl(new, tmp_path)
    tensors, old = load_file(tmp_path / DIFFUSERS_WEIGHTS), {"to_q": "query", "to_k": "key", "to_v": "value"}
    for name in [name for name in tensors if "attentions" in name]:
        renamed = name.replace("to_out.0", "proj_attn")
        for one, other in old.items():
            renamed = renamed.replace(one, other)
        tensors[renamed] = tensors.pop(name)
    save_file(tensors, tmp_path / DIFFUSERS_WEIGHTS)
    torch.manual_seed(1)
    again = DynamicVAE(**SIZES)
    again.load_state_dict(new.state_dict())
    for parameter in again.encoder.heads[0].parameters():
        torch.nn.init.zeros_(parameter)
    read_autoencoder_kl(again, tmp_path)
    assert all(torch.equal(a, b) for a, b in zip(new.parameters(), again.parameters(), strict=True))


def test_a_dvae_of_other_widths_is_refused(tmp_path: Path) -> None:
    autoencoder(tmp_path)
    narrow = DynamicVAE(channels=16, multipliers=(1, 2, 2, 2), res_blocks=1)
    with pytest.raises(SavedModelError, match=r"only .* numbers fit"):
        read_autoencoder_kl(narrow, tmp_path)


@pytest.mark.parametrize("content", [None, b"", b"rubbish" * 100])
def test_a_damaged_file_is_refused_in_one_line(tmp_path: Path, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / DIFFUSERS_WEIGHTS).write_bytes(content)
    with pytest.raises(SavedModelError, match="not a whole file of weights") as refused:
        read_autoencoder_kl(DynamicVAE(**SIZES), tmp_path)
    assert "\n" not in str(refused.value)
