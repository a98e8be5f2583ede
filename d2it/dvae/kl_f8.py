"""LDM's and Stable Diffusion's KL-f8, in diffusers' format, as initial weights of the DVAE.

The DVAE is that autoencoder with a further head per grain (our reading of the paper's section 3.1): trunk, finest head
and decoder have their layers there; what only the DVAE has keeps its initial weights. diffusers puts a 1 x 1
convolution behind the encoder and another before the decoder; each is multiplied into the convolution beside it, which
is exact, but for the outermost codes where the decoder's one has a bias.
"""

import re
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from torch import Tensor

from d2it.dvae.model import DynamicVAE
from d2it.initial import DIFFUSERS_WEIGHTS
from d2it.saved import SavedModelError, read_tensors

Weights = Mapping[str, Tensor]
_OLD_NAMES = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}  # of attention, until 2022


@torch.no_grad()
def read_autoencoder_kl(model: DynamicVAE, folder: Path) -> int:
    """Put the weights of an AutoencoderKL into a DVAE, wherever names and shapes agree; returns how many numbers.

    Args:
        model: changed in place.
        folder: with diffusers' config.json and diffusion_pytorch_model.safetensors.

    Raises:
        SavedModelError: the file is missing or damaged, or less than half of it fits.
    """
    path = folder / DIFFUSERS_WEIGHTS
    try:
        given, _ = read_tensors(path)
    except (OSError, SafetensorError, ValueError) as error:
        raise SavedModelError(f"{path}: not a whole file of weights: {' '.join(str(error).split())}") from None
    try:
        theirs = _as_ours(_with_new_names(given), len(model.architecture["multipliers"]), model)
    except (KeyError, RuntimeError) as error:
        raise SavedModelError(f"{path}: no weights of an AutoencoderKL: {' '.join(str(error).split())}") from None
    own = dict(model.named_parameters())
    fitting = {name: x for name, x in theirs.items() if name in own and own[name].shape == x.shape}
    taken, offered = (sum(x.numel() for x in tensors.values()) for tensors in (fitting, given))
    if taken < offered / 2:
        few = f"only {taken:,} of {offered:,} numbers fit into this DVAE"
        raise SavedModelError(f"{path}: {few}: dvae.channels, multipliers and res_blocks must be the autoencoder's")
    for name, x in fitting.items():
        own[name].copy_(x)
    return taken


def _as_ours(given: Weights, levels: int, model: DynamicVAE) -> dict[str, Tensor]:
    """All tensors that the DVAE might have, under its names."""
    blocks = int(model.architecture["res_blocks"])
    ours: dict[str, Tensor] = {}
    for name in ("weight", "bias"):
        ours[f"encoder.conv_in.{name}"] = given[f"encoder.conv_in.{name}"]
        ours[f"encoder.heads.0.norm.{name}"] = given[f"encoder.conv_norm_out.{name}"]
        ours[f"decoder.norm.{name}"] = given[f"decoder.conv_norm_out.{name}"]
        ours[f"decoder.conv_out.{name}"] = given[f"decoder.conv_out.{name}"]
    ours |= _after(given, "encoder.conv_out", "quant_conv", "encoder.heads.0.conv")
    ours |= _before(given, "post_quant_conv", "decoder.conv_in")
    ours |= _middle(given, "encoder.mid_block", "encoder.heads.0.middle")
    ours |= _middle(given, "decoder.mid_block", "decoder.middle")
    down = [
        part
        for level in range(levels)
        for part in (
            *([f"encoder.down_blocks.{level - 1}.downsamplers.0"] if level else []),
            *(f"encoder.down_blocks.{level}.resnets.{i}" for i in range(blocks)),
        )
    ]
    up = [
        part
        for level in range(levels)
        for part in (
            *(f"decoder.up_blocks.{level}.resnets.{i}" for i in range(blocks + 1)),
            *([f"decoder.up_blocks.{level}.upsamplers.0"] if level < levels - 1 else []),
        )
    ]
    for parts, sequence in ((down, "encoder.trunk"), (up, "decoder.up")):
        for index, part in enumerate(parts):
            ours |= _block(given, part, f"{sequence}.{index}")
    return ours


def _block(given: Weights, theirs: str, ours: str) -> dict[str, Tensor]:
    """A residual or a resampling block."""
    inside = {name.removeprefix(f"{theirs}."): x for name, x in given.items() if name.startswith(f"{theirs}.")}
    return {f"{ours}.{name.replace('conv_shortcut', 'skip')}": x for name, x in inside.items()}


def _middle(given: Weights, theirs: str, ours: str) -> dict[str, Tensor]:
    attention = f"{theirs}.attentions.0"
    taken = _block(given, f"{theirs}.resnets.0", f"{ours}.0") | _block(given, f"{theirs}.resnets.1", f"{ours}.2")
    for name in ("weight", "bias"):
        qkv = torch.cat([given[f"{attention}.{part}.{name}"].flatten(1) if name == "weight" else
                         given[f"{attention}.{part}.{name}"] for part in ("to_q", "to_k", "to_v")])  # fmt: skip
        out = given[f"{attention}.to_out.0.{name}"]
        taken[f"{ours}.1.norm.{name}"] = given[f"{attention}.group_norm.{name}"]
        taken[f"{ours}.1.qkv.{name}"] = qkv[..., None, None] if name == "weight" else qkv
        taken[f"{ours}.1.proj.{name}"] = out.flatten(1)[..., None, None] if name == "weight" else out
    return taken


def _after(given: Weights, conv: str, pointwise: str, ours: str) -> dict[str, Tensor]:
    """A convolution and the 1 x 1 one behind it, as one."""
    weight, bias = given[f"{conv}.weight"], given[f"{conv}.bias"]
    if f"{pointwise}.weight" in given:
        mix = given[f"{pointwise}.weight"].flatten(1)
        weight, bias = torch.einsum("om,mikl->oikl", mix, weight), mix @ bias + given[f"{pointwise}.bias"]
    return {f"{ours}.weight": weight, f"{ours}.bias": bias}


def _before(given: Weights, pointwise: str, conv: str) -> dict[str, Tensor]:
    """A convolution and the 1 x 1 one before it, as one."""
    weight, bias = given[f"{conv}.weight"], given[f"{conv}.bias"]
    if f"{pointwise}.weight" in given:
        mix = given[f"{pointwise}.weight"].flatten(1)
        bias = bias + torch.einsum("oikl,i->o", weight, given[f"{pointwise}.bias"])
        weight = torch.einsum("oikl,im->omkl", weight, mix)
    return {f"{conv}.weight": weight, f"{conv}.bias": bias}


def _with_new_names(given: Weights) -> dict[str, Tensor]:
    pattern = re.compile(rf"(\.attentions\.\d+)\.({'|'.join(_OLD_NAMES)})\.")
    return {pattern.sub(lambda m: f"{m[1]}.{_OLD_NAMES[m[2]]}.", name): x for name, x in given.items()}
