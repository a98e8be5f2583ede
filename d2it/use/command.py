"""`python -m d2it sample | reconstruct | info | export | ui`: what a trained model draws and keeps."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from tabulate import tabulate

from d2it.arguments import positive_int
from d2it.errors import UserError
from d2it.use.numbers import number_list

FOLDER = "outputs of a pipeline, an exported folder, or owner/name on the Hugging Face Hub"
FILM_SECONDS, FILM_PAUSE = 3.0, 2.0


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; 2 and one line for what cannot be used."""
    options = _parser().parse_args(arguments)
    try:
        options.run(options)
    except (UserError, OSError) as error:
        print(error, file=sys.stderr)
        return 2
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("d2it", description="What a trained D²iT draws.")
    commands = parser.add_subparsers(required=True, metavar="command")
    sample = commands.add_parser("sample", help="draw images", description="Draw images: every class with every seed.")
    sample.add_argument("folder", type=Path, help=FOLDER)
    sample.add_argument("--classes", type=number_list, help="labels, such as 0-7 or 3,3,7 (default: all, at most 8)")
    sample.add_argument("--seeds", type=number_list, default=[0], help="such as 0-3 (default: 0)")
    sample.add_argument("--guidance", type=float, help="classifier-free guidance scale; 1 = none")
    sample.add_argument("--steps", type=int, help="sampling steps")
    sample.add_argument("--sampler", help="ddpm, ddim or dpm-solver++; euler or heun for a flow")
    sample.add_argument("--fine-ratio", type=float, help="share of each image's regions that is fine, 0 to 1")
    sample.add_argument("--grain-map", type=Path, help="where detail goes: a picture, white = fine, black = coarse")
    sample.add_argument("--out", type=Path, default=Path("samples"), help="folder for the images (default: samples)")
    sample.add_argument("--grid", type=Path, help="also one picture of all, with their grain maps")
    sample.add_argument("--film", type=Path, help="also a GIF of the steps from noise to image")
    sample.set_defaults(run=_sample)
    reconstruct = commands.add_parser("reconstruct", help="pass photos through the DVAE")
    reconstruct.add_argument("folder", type=Path, help=FOLDER)
    reconstruct.add_argument("photos", type=Path, nargs="+", help="image files, whose middle is taken")
    reconstruct.add_argument("--fine-ratio", type=float, help="share of each photo's regions that is fine, 0 to 1")
    reconstruct.add_argument("--out", type=Path, default=Path("reconstructions.png"), help="a picture of all")
    reconstruct.set_defaults(run=_reconstruct)
    info = commands.add_parser("info", help="what a folder's models are, and what was measured of them")
    info.add_argument("folder", type=Path, help=FOLDER)
    info.set_defaults(run=_info)
    dial = commands.add_parser("dial", help="what more and fewer fine regions give, and cost: a table and a picture")
    dial.add_argument("folder", type=Path, help="outputs of a pipeline, with the images to compare with")
    dial.add_argument("--ratios", type=_shares, default=[0.0, 0.25, 0.5, 0.75, 1.0],
                      help="shares of fine regions (default: 0,0.25,0.5,0.75,1)")  # fmt: skip
    dial.add_argument("--images", type=positive_int, default=1008, help="drawn at each (default: 1008)")
    dial.add_argument("--out", type=Path, default=Path("dial"), help="folder of dial.md and dial.png (default: dial)")
    dial.set_defaults(run=_dial)
    export = commands.add_parser("export", help="one folder that stands alone, with a model card")
    export.add_argument("folder", type=Path, help="outputs of a pipeline")
    export.add_argument("target", type=Path, help="a new folder")
    export.add_argument("--push", metavar="OWNER/NAME", help="also upload it to the Hugging Face Hub")
    export.set_defaults(run=_export)
    ui = commands.add_parser("ui", help="a page to paint grain maps on")
    ui.add_argument("folder", type=Path, help="outputs of a pipeline, or an exported folder")
    ui.add_argument("--host", default="127.0.0.1", help="0.0.0.0: others can reach it too (default: 127.0.0.1)")
    ui.add_argument("--port", type=int, default=7860, help="0: any that is free (default: 7860)")
    ui.set_defaults(run=_ui)
    return parser


def _sample(options: argparse.Namespace) -> None:
    from d2it import pictures, sample_pictures
    from d2it.use.model import load

    model = load(options.folder)
    classes = options.classes or list(range(min(8, max(1, model.content.no_class))))
    classes, options.seeds = (list(dict.fromkeys(given)) for given in (classes, options.seeds))  # each once
    pairs = [(label, seed) for label in classes for seed in options.seeds]
    labels, seeds = [label for label, _ in pairs], [seed for _, seed in pairs]
    settings = {"guidance": options.guidance, "steps": options.steps, "sampler": options.sampler}
    drawn = model.sample(labels, seeds, grain_maps=options.grain_map, fine_ratio=options.fine_ratio, **settings)
    options.out.mkdir(parents=True, exist_ok=True)
    for (label, seed), image in zip(pairs, drawn.images, strict=True):
        image.save(options.out / f"class{label}-seed{seed}.png")
    print(f"{len(pairs)} images in {options.out}")
    if options.grid:
        each, names = len(options.seeds), model.class_names
        rows = [np.arange(i, i + each) for i in range(0, len(pairs), each)]
        arrays = np.stack([np.asarray(image) for image in drawn.images])
        captions = [names[label] if names else str(label) for label in classes]
        images, maps = ([x[row] for row in rows] for x in (arrays, drawn.grain_maps))
        picture = sample_pictures.by_class(images, maps, captions, model.grain.grains)
        pictures.save_png(options.grid, picture)
        print(f"all of them: {options.grid}")
    if options.film:
        steps = model.denoise(labels, seeds, grain_maps=drawn.grain_maps, **settings)
        pictures.save_gif(options.film, sample_pictures.film(steps), FILM_SECONDS, FILM_PAUSE)
        print(f"from noise to image: {options.film}")


def _reconstruct(options: argparse.Namespace) -> None:
    from d2it import pictures
    from d2it.use.model import load
    from d2it.use.photos import middle

    model = load(options.folder)
    photos = np.stack([middle(photo, model.image_size) for photo in options.photos])
    maps = np.stack([model.grain_map(photo, fine_ratio=options.fine_ratio) for photo in photos])
    kept = np.stack([np.asarray(model.reconstruct(photo, fine_ratio=options.fine_ratio)) for photo in photos])
    scale = pictures.legible(photos)
    shown: list[NDArray[np.uint8]] = [pictures.enlarge(images, scale) for images in (photos, kept)]
    overlaid = pictures.overlay(shown[0], maps, model.grain.grains)
    picture = pictures.grid([shown[0], overlaid, shown[1]], ["photo", "grain map", "reconstruction"])
    Image.fromarray(picture).save(options.out)
    print(f"photos, grain maps and reconstructions: {options.out}")


def _shares(text: str) -> list[float]:
    shares = [float(part) for part in text.split(",")]
    if not all(0 <= share <= 1 for share in shares):
        raise argparse.ArgumentTypeError(f"{text!r}: must be shares from 0 to 1, such as 0.25,0.5")
    return shares


def _dial(options: argparse.Namespace) -> None:
    from d2it.use.dial import dial
    from d2it.use.model import load

    print(dial(load(options.folder), options.folder, options.out, ratios=options.ratios, images=options.images))
    print(f"the page: {options.out / 'dial.md'}")


def _export(options: argparse.Namespace) -> None:
    from d2it.use.export import export
    from d2it.use.hub import push

    export(options.folder, options.target)
    print(f"exported: {options.target}")
    if options.push:
        print(f"uploaded: {push(options.target, options.push)}")


def _info(options: argparse.Namespace) -> None:
    from d2it.use.info import describe_folder

    print(tabulate(describe_folder(options.folder), tablefmt="plain"))


def _ui(options: argparse.Namespace) -> None:
    from d2it.use.ui import serve

    serve(options.folder, options.host, options.port)
