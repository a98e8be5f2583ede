"""Speed on a GPU, and the share of its matrix rate: `python -m benchmarks.gpu [--sizes B L XL] [--json]`.

Training (forward, backward, fused AdamW; dropout 0.1 as in the presets) and sampling (forward alone) in bfloat16 at
fine ratio 0.5, each with and without torch.compile, on grain maps that change every step; and B against DiT-B/2. The
matrix rate is that of a large bfloat16 product in the same process. Targets: XL trains at 40 % of it or more, B costs
at most 1.25 x DiT-B/2. Needs PyTorch, NumPy, einops, lazy-loader and safetensors alone.
"""

import itertools
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager

import torch
from torch import Tensor, nn

from benchmarks.timing import arguments, in_turn, show, timed
from d2it.counting import META, content_pass, example_maps, multiply_adds
from d2it.device import pick_device
from d2it.training.compiled import compile_layers
from d2it.transformer.baseline import CHANNELS, CLASSES, GRID, plain_dit
from d2it.transformer.content import SIZES, DynamicContentTransformer
from d2it.transformer.dit import DiT

BATCH = {"B": 256, "L": 128, "XL": 96}  # trains in 80 GB
PRODUCT, PRODUCTS, MAPS = 8192, 20, 8
SHARES, DROPOUT = (0.5, 0.5), 0.1  # coarse and fine regions; the presets' dropout
NOMINAL = {"H200": 989.5, "H100": 989.5, "A100": 312.0}  # TFLOP/s, bfloat16 without sparsity, by its makers


def matrix_rate(device: torch.device) -> float:
    """bfloat16 operations per second of a large product of random matrices; a multiply-add is two."""
    a, b = (torch.randn(PRODUCT, PRODUCT, device=device, dtype=torch.bfloat16) for _ in range(2))

    def products() -> None:
        for _ in range(PRODUCTS):
            a @ b

    products()
    return PRODUCTS * 2 * PRODUCT**3 / min(timed(products) for _ in range(3))


def batches(images: int, device: torch.device) -> Iterator[tuple[Tensor, ...]]:
    """Random inputs, with other grain maps every time."""
    z = torch.randn(images, CHANNELS, *GRID, device=device)
    t = torch.randint(0, 1000, (images,), device=device)
    y = torch.randint(0, CLASSES, (images,), device=device)
    maps = [example_maps(SHARES, GRID.divided(2), images, seed).to(device) for seed in range(MAPS)]
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
    """The same, its layers compiled in place as in training."""
    compile_layers(model)
    return model


def of_size(name: str, device: torch.device, rounds: int) -> dict[str, float]:
    """Images and operations per second, training and sampling, with and without torch.compile."""
    images = BATCH[name]
    with META:
        counted = DynamicContentTransformer(**SIZES[name])
    operations = 2 * multiply_adds(lambda: content_pass(counted, SHARES))  # per image, forward
    numbers: dict[str, float] = {}
    for how in ("", ", compiled"):
        for what, passes, step in (("train", 3, training_step), ("sample", 1, forward)):
            with device:
                model = DynamicContentTransformer(**SIZES[name], dropout=DROPOUT).train(what == "train")
            run = step(compiled(model) if how else model, images, device)
            torch.cuda.reset_peak_memory_stats()
            for _ in range(MAPS):
                run()  # all compiling is done here
            seconds = in_turn({f"{name}, {what}{how}": run}, rounds)
            rate = images / seconds[f"{name}, {what}{how}"]
            numbers[f"{name}, {what}{how}, images/s"] = rate
            numbers[f"{name}, {what}{how}, TFLOP/s"] = passes * operations * rate / 1e12
            numbers[f"{name}, {what}{how}, peak memory, GB"] = torch.cuda.max_memory_allocated() / 1e9
            del model, run
    return numbers


def against_dit(device: torch.device, rounds: int, images: int) -> dict[str, float]:
    """D²iT-B at ratio 0.5 over DiT-B/2, forward, and forward and backward."""
    with device:
        models = {"ours": DynamicContentTransformer(**SIZES["B"]), "DiT": plain_dit("B", 2)}
    numbers: dict[str, float] = {}
    for what, step in (("forward", forward), ("training step", training_step)):
        seconds = in_turn({name: step(model, images, device) for name, model in models.items()}, rounds)
        numbers[f"B / DiT-B/2, {what} (target <= 1.25)"] = seconds["ours"] / seconds["DiT"]
    return numbers


def main() -> None:
    """Measure all that was asked for."""
    options = arguments("Speed on a GPU, and the share of its matrix rate.", rounds=20, sizes=list(BATCH))
    device = pick_device()
    if device.type != "cuda":
        raise SystemExit("benchmarks.gpu: PyTorch sees no GPU on this machine")
    rate = matrix_rate(device)
    card = torch.cuda.get_device_name()
    nominal = next((value for name, value in NOMINAL.items() if name in card), None)
    numbers: dict[str, object] = {"card": card, "torch": torch.__version__, "matrix rate, TFLOP/s": rate / 1e12}
    numbers |= against_dit(device, options.rounds, BATCH["B"])
    for name in options.sizes:
        measured = of_size(name, device, options.rounds)
        for what, value in measured.items():
            numbers[what] = value
            if what.endswith("TFLOP/s"):
                numbers[what.replace("TFLOP/s", "% of the matrix rate")] = 1e14 * value / rate
            if what.endswith("TFLOP/s") and nominal:
                numbers[what.replace("TFLOP/s", "% of the nominal rate")] = 100 * value / nominal
        torch.cuda.empty_cache()
    show(numbers, options.json)


if __name__ == "__main__":
    main()
