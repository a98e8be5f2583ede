"""Speed on a GPU, and the share of its matrix rate: `python -m benchmarks.gpu [--sizes B L XL] [--json]`.

Training (forward, backward, fused AdamW; dropout 0.1 as in the presets) and sampling (forward alone) in bfloat16 at
fine ratio 0.5, each with and without torch.compile, on grain maps that change every step; and B against DiT-B/2. The
matrix rate is that of a large bfloat16 product in the same process. Targets: XL trains at 40 % of it or more, B costs
at most 1.25 x DiT-B/2. Needs PyTorch, pydantic, PyYAML and safetensors, not what the stages need.
"""

import itertools
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager

import torch
from torch import Tensor, nn

from benchmarks.timing import arguments, in_turn, pick_device, show, timed
from d2it.cost import (
    CLASSES,
    GRID,
    META,
    SIZES,
    Size,
    content_multiply_adds,
    content_transformer,
    dit,
    map_of_ratio,
)
from d2it.transformer.dit import AdaLNZeroBlock, DiT
from d2it.transformer.routing import PackedTokens

BATCH = {"B": 256, "L": 128, "XL": 96}  # trains in 80 GB
PRODUCT, PRODUCTS, MAPS = 8192, 20, 8
NOMINAL = {"H200": 989.5, "H100": 989.5, "A100": 312.0}  # TFLOP/s, bfloat16 without sparsity, by its makers


def matrix_rate(device: torch.device) -> float:
    """bfloat16 operations a second of a large product of random matrices; a multiply-add is two."""
    a, b = (torch.randn(PRODUCT, PRODUCT, device=device, dtype=torch.bfloat16) for _ in range(2))

    def products() -> None:
        for _ in range(PRODUCTS):
            a @ b

    products()
    return PRODUCTS * 2 * PRODUCT**3 / min(timed(products) for _ in range(3))


def batches(images: int, device: torch.device) -> Iterator[tuple[Tensor, ...]]:
    """Random inputs, with other grain maps every time."""
    z = torch.randn(images, 4, GRID, GRID, device=device)
    t = torch.randint(0, 1000, (images,), device=device)
    y = torch.randint(0, CLASSES, (images,), device=device)
    maps = [map_of_ratio(0.5, images, seed).to(device) for seed in range(MAPS)]
    return ((z, t, y, grain_map) for grain_map in itertools.cycle(maps))


def bfloat16(device: torch.device) -> AbstractContextManager[None]:
    """Autocast, as in training."""
    return torch.autocast(device.type, torch.bfloat16)


def forward(model: nn.Module, images: int, device: torch.device) -> Callable[[], object]:
    """A forward pass, planning of routes included."""
    inputs = batches(images, device)

    def run() -> None:
        with torch.no_grad(), bfloat16(device):
            model(*_of(model, next(inputs)))

    return run


def training_step(model: nn.Module, images: int, device: torch.device) -> Callable[[], object]:
    """Forward, backward and the optimizer's step."""
    inputs = batches(images, device)
    adamw = torch.optim.AdamW(model.parameters(), 1e-4, fused=True)

    def run() -> None:
        with bfloat16(device):
            loss = model(*_of(model, next(inputs))).square().mean()
        loss.backward()
        adamw.step()
        adamw.zero_grad(set_to_none=True)

    return run


def _of(model: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    return inputs[:3] if isinstance(model, DiT) else inputs  # DiT knows no grain map


def compiled(model: nn.Module) -> nn.Module:
    """The same, its blocks compiled in place: one graph for all blocks of a layout, with any number of tokens.

    Windows hold other numbers of tokens in each batch, so packed attention stays as it is.
    """
    PackedTokens.attend = torch.compiler.disable(PackedTokens.attend)  # type: ignore[method-assign]
    for module in model.modules():
        if isinstance(module, AdaLNZeroBlock):
            module.compile()
    return model


def with_dropout(model: nn.Module, share: float = 0.1) -> nn.Module:
    """The same, with the presets' dropout."""
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = share
    return model.train()


def of_size(name: str, size: Size, device: torch.device, rounds: int, images: int) -> dict[str, float]:
    """Images a second and operations a second, training and sampling, with and without torch.compile."""
    with META:
        counted = content_transformer(size)
    operations = 2e9 * content_multiply_adds(counted, 0.5)  # an image, forward
    found: dict[str, float] = {}
    for how in ("", ", compiled"):
        for what, passes, step in (("train", 3, training_step), ("sample", 1, forward)):
            with device:
                model: nn.Module = content_transformer(size)
            model = with_dropout(model) if what == "train" else model.eval()
            run = step(compiled(model) if how else model, images, device)
            torch.cuda.reset_peak_memory_stats()
            for _ in range(MAPS):
                run()  # all compiling is done here
            seconds = in_turn({f"{name}, {what}{how}": run}, rounds)
            rate = images / seconds[f"{name}, {what}{how}"]
            found[f"{name}, {what}{how}, images/s"] = rate
            found[f"{name}, {what}{how}, TFLOP/s"] = passes * operations * rate / 1e12
            found[f"{name}, {what}{how}, peak memory, GB"] = torch.cuda.max_memory_allocated() / 1e9
            del model, run
    return found


def against_dit(device: torch.device, rounds: int, images: int) -> dict[str, float]:
    """D²iT-B at ratio 0.5 over DiT-B/2, forward, and forward and backward."""
    size = SIZES["B"]
    with device:
        models: dict[str, nn.Module] = {"ours": content_transformer(size), "DiT": dit(size, 2)}
    found: dict[str, float] = {}
    for what, step in (("forward", forward), ("training step", training_step)):
        seconds = in_turn({name: step(model, images, device) for name, model in models.items()}, rounds)
        found[f"B / DiT-B/2, {what} (target <= 1.25)"] = seconds["ours"] / seconds["DiT"]
    return found


def main() -> None:
    """Measure all that was asked for."""
    options = arguments("Speed on a GPU, and the share of its matrix rate.", rounds=20, sizes=list(SIZES))
    device = pick_device()
    if device.type != "cuda":
        raise SystemExit("benchmarks.gpu: PyTorch sees no GPU on this machine")
    rate = matrix_rate(device)
    card = torch.cuda.get_device_name()
    nominal = next((value for name, value in NOMINAL.items() if name in card), None)
    found: dict[str, object] = {"card": card, "torch": torch.__version__, "matrix rate, TFLOP/s": rate / 1e12}
    found |= against_dit(device, options.rounds, BATCH["B"])
    for name in options.sizes:
        measured = of_size(name, SIZES[name], device, options.rounds, BATCH[name])
        for what, value in measured.items():
            found[what] = value
            if what.endswith("TFLOP/s"):
                found[what.replace("TFLOP/s", "% of the matrix rate")] = 1e14 * value / rate
            if what.endswith("TFLOP/s") and nominal:
                found[what.replace("TFLOP/s", "% of the nominal rate")] = 100 * value / nominal
        torch.cuda.empty_cache()
    show(found, options.json)


if __name__ == "__main__":
    main()
