"""Sizes of all models beside the paper's: `python -m d2it.sizes [--json]`.

Parameters and multiply-adds of one image at 256 x 256 (latent 32 x 32 x 4), counted on the meta device, so that
no weight is allocated. The paper's "FLOPs" are multiply-adds; its rows for patch 1 leave the attention products out.
"""

import argparse
import json
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from d2it.dvae.model import DVAEConfig, DynamicVAE
from d2it.params import DGT, Content, RefineNet
from d2it.transformer.backbone import DiT
from d2it.transformer.content import DynamicContentTransformer
from d2it.transformer.grain import DynamicGrainTransformer

FACTORS, GRID, REGIONS, CLASSES = [8, 16], 32, 16, 1000
RATIOS = (0.0, 0.25, 0.5, 0.75, 1.0)
META = torch.device("meta")
TRAINING = {  # keys that a section needs and that shape no model
    "images": 1, "batch_size": 1, "micro_batch": 1, "warmup_images": 0, "cooldown_images": 0, "gradient_clip": 0.0,
    "precision": "float32", "log_images": 1, "checkpoint_images": 1, "learning_rate": 1e-4, "weight_decay": 0.0,
    "ema_decay": 0.0, "dropout": 0.0, "label_dropout": 0.0, "activation_checkpointing": False, "loss_weighting": "code",
    "position": "learnable",
}  # fmt: skip


@dataclass(frozen=True)
class Size:
    """A size of the content transformer (paper, tables 1 and 2)."""

    layers: int
    refinenet_layers: int
    width: int
    heads: int
    paper_parameters: float  # M
    paper_multiply_adds: float  # G, at fine ratio 0.5
    paper_dit: tuple[float, float, float]  # DiT of as many layers: M, G with patch 2, G with patch 1


SIZES = {
    "B": Size(10, 2, 768, 12, 136, 35.93, (130, 23.01, 87.07)),
    "L": Size(20, 4, 1024, 16, 467, 102.25, (458, 80.71, 309.51)),
    "XL": Size(22, 6, 1152, 16, 687, 145.60, (675, 118.64, 456.98)),
}


@dataclass(frozen=True)
class Row:
    """A line of the table: parameters in M, multiply-adds an image in G, by fine ratio where there is one."""

    model: str
    parameters: float
    multiply_adds: dict[str, float]
    paper_parameters: float | None = None
    paper_multiply_adds: float | None = None


def content_params(layers: int, width: int, heads: int) -> Content:
    """A section `content`, of which only the keys that shape the model matter here."""
    return Content.model_validate(TRAINING | {"layers": layers, "width": width, "heads": heads})


def content_transformer(size: Size, window: int = 16) -> DynamicContentTransformer:
    """D²iT at 256 x 256, class-conditional as on ImageNet."""
    refinenet = RefineNet(layers=size.refinenet_layers, window=window, tokens="fine")
    config = content_params(size.layers, size.width, size.heads)
    return DynamicContentTransformer(config, refinenet, FACTORS, GRID, 4, CLASSES)


def dit(size: Size, patch: int) -> DiT:
    """Plain DiT with as many layers, from our backbone alone."""
    config = content_params(size.layers + size.refinenet_layers, size.width, size.heads)
    return DiT(config, GRID, patch, 4, 8, CLASSES)


def map_of_ratio(ratio: float, images: int = 1, seed: int = 0) -> Tensor:
    """Random grain maps (images, 16, 16) with exactly this share of fine regions each."""
    g = torch.Generator().manual_seed(seed)
    order = torch.rand(images, REGIONS**2, generator=g).argsort(1).argsort(1)
    return (order < round(ratio * REGIONS**2)).to(torch.uint8).view(images, REGIONS, REGIONS)


def parameters(model: nn.Module) -> float:
    """Trainable parameters, in M."""
    return sum(p.numel() for p in model.parameters() if p.requires_grad) / 1e6


def multiply_adds(run: Callable[[], object]) -> float:
    """Of what `run` does on meta tensors, in G; PyTorch's counter counts two a multiply-add."""
    counter = FlopCounterMode(display=False)
    with counter, torch.no_grad():
        run()
    return counter.get_total_flops() / 2e9


def content_multiply_adds(model: DynamicContentTransformer, ratio: float) -> float:
    """Of one image with this fine ratio, in G."""
    grain_map = map_of_ratio(ratio)
    routes = [route.to(META) for route in model.route(grain_map)]
    z, t = torch.empty(1, 4, GRID, GRID, device=META), torch.empty(1, dtype=torch.int64, device=META)
    return multiply_adds(lambda: model(z, t, t, grain_map.to(META), routes))


def table() -> list[Row]:
    """All rows."""
    rows: list[Row] = []
    with META:
        z, t = torch.empty(1, 4, GRID, GRID), torch.empty(1, dtype=torch.int64)
        for name, size in SIZES.items():
            model = content_transformer(size)
            with torch.device("cpu"):
                costs = {f"{ratio:g}": content_multiply_adds(model, ratio) for ratio in RATIOS}
            rows.append(Row(f"D²iT-{name}", parameters(model), costs, size.paper_parameters, size.paper_multiply_adds))
        for name, size in SIZES.items():
            for patch, paper in ((2, size.paper_dit[1]), (1, size.paper_dit[2])):
                plain = dit(size, patch)
                cost = {"": multiply_adds(lambda model=plain: model(z, t, t))}  # type: ignore[misc]
                rows.append(Row(f"DiT-{name}/{patch}", parameters(plain), cost, size.paper_dit[0], paper))
        shape = {"layers": 12, "width": 384, "heads": 6}
        config = DGT.model_validate({key: value for key, value in TRAINING.items() if key in DGT.model_fields} | shape)
        grain = DynamicGrainTransformer(config, len(FACTORS), REGIONS, CLASSES)
        noisy = torch.empty(1, 1, REGIONS, REGIONS)
        rows.append(
            Row("grain transformer (DiT-S)", parameters(grain), {"": multiply_adds(lambda: grain(noisy, t, t))})
        )
        dvae = DynamicVAE(DVAEConfig(128, [1, 2, 4, 4], 2, 4, "kl", 1024, FACTORS))
        image = torch.empty(1, 3, 256, 256)
        encoder = {"": multiply_adds(lambda: dvae.encoder(image))}
        decoder = {"": multiply_adds(lambda: dvae.decoder(z))}
        rows.append(Row("DVAE, encoder", parameters(dvae.encoder), encoder))
        rows.append(Row("DVAE, decoder", parameters(dvae.decoder), decoder))
    return rows


def _line(row: Row) -> str:
    costs = [row.multiply_adds.get(f"{ratio:g}") for ratio in RATIOS] if len(row.multiply_adds) > 1 else [None] * 5
    single = row.multiply_adds.get("")
    costs = costs if single is None else [None, None, single, None, None]
    cells = [f"{cost:9.2f}" if cost is not None else " " * 9 for cost in costs]
    paper = [f"{x:8.2f}" if x is not None else " " * 8 for x in (row.paper_parameters, row.paper_multiply_adds)]
    return f"{row.model:26}{row.parameters:9.2f}{paper[0]}  {''.join(cells)}{paper[1]}"


def main() -> None:
    """Print the table, or JSON."""
    parser = argparse.ArgumentParser("python -m d2it.sizes", description="Sizes of all models beside the paper's.")
    parser.add_argument("--json", action="store_true", help="a list of rows as JSON")
    rows = table()
    if parser.parse_args().json:
        print(json.dumps([vars(row) for row in rows], indent=2, ensure_ascii=False))
        return
    print(f"{'':26}{'parameters, M':17}  {'multiply-adds an image, G, at fine ratio':45}")
    ratios = "".join(f"{ratio:9g}" for ratio in RATIOS)
    print(f"{'':26}{'ours':>9}{'paper':>8}  {ratios}{'paper':>8}")
    for row in rows:
        print(_line(row))


if __name__ == "__main__":
    main()
