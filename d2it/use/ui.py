"""`python -m d2it ui`: a page to paint grain maps on, beside the images that a trained model draws on them.

Gradio makes the page, an optional extra; it is told to call nobody.
"""

import base64
import importlib.util
import io
import os
import signal
import socket
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from PIL import Image

from d2it.errors import UserError
from d2it.use import regions
from d2it.use.drawing import Wish, describe, draw, map_of_photo, map_text, tokens_per_region
from d2it.use.model import D2iT, load

HOST, PORT = "127.0.0.1", 7860
MOST_STEPS, MOST_GUIDANCE = 250, 10.0  # of the sliders, where the model itself takes no more
LAST_SECONDS = 1  # that open pages get when the server ends
FONTS = ("system-ui", "sans-serif")  # of the reader's machine: Gradio's own come from the network
CSS = """
footer { display: none !important; }
#panels { max-width: max(480px, 100vh - 100px); }
"""
PANEL: dict[str, Any] = {"apply_default_css": False, "min_width": 220}


def serve(folder: Path, host: str = HOST, port: int = PORT) -> None:
    """Serve the page for the models of `folder` until Ctrl-C; prints its address.

    Args:
        folder: outputs of a pipeline, or an exported folder.
        host: an address of this machine; 0.0.0.0 for all of them, so that others can reach the page.
        port: 0 for any that is free.

    Raises:
        UserError: Gradio is not installed, nobody can listen there, or the folder holds no trained D²iT.
    """
    if importlib.util.find_spec("gradio") is None:
        raise UserError("the page needs Gradio, which is not installed: pip install gradio")
    with suppress(KeyboardInterrupt), _listen(host, port) as listener, TemporaryDirectory(prefix="d2it-ui-") as uploads:
        os.environ |= {"GRADIO_ANALYTICS_ENABLED": "False", "GRADIO_TEMP_DIR": uploads}
        server = _server(load(folder))
        shown = f"[{host}]" if ":" in host else host  # an address of IPv6
        print(f"Open http://{shown}:{listener.getsockname()[1]} (Ctrl-C ends it)", flush=True)
        signal.signal(signal.SIGTERM, signal.default_int_handler)  # ends as Ctrl-C does, and leaves no uploads
        server.run(sockets=[listener])


def _listen(host: str, port: int) -> socket.socket:
    try:
        family, *_ = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        return socket.create_server((host, port), family=family)
    except (OSError, OverflowError) as error:  # the latter for ports that do not exist
        reason = str(getattr(error, "strerror", error)).split(" (while")[0]
        raise UserError(f"{host}:{port}: {reason}: choose others with --host and --port") from None


def _server(model: D2iT) -> Any:
    import gradio
    import uvicorn
    from fastapi import FastAPI

    theme = gradio.themes.Default(font=FONTS, font_mono=("monospace",))
    app = gradio.mount_gradio_app(
        FastAPI(), page(model), "/", theme=theme, css=CSS, footer_links=[], ssr_mode=False, show_error=True
    )
    return uvicorn.Server(uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=LAST_SECONDS))


@dataclass(frozen=True, kw_only=True)
class Controls:
    """Components of the page by which somebody says what to draw."""

    label: Any
    seed: Any
    guidance: Any
    steps: Any
    detail: Any
    ratio: Any
    button: Any
    photo: Any


@dataclass(frozen=True, kw_only=True)
class Panels:
    """Components of the page that show what was drawn; the map can be painted on."""

    map: Any
    image: Any
    tokens: Any
    before: Any
    line: Any


def page(model: D2iT) -> Any:
    """The page, a `gradio.Blocks`: what to draw on the left, map, image and tokens beside it."""
    import gradio as gr

    with gr.Blocks(title="D²iT", analytics_enabled=False, fill_width=True) as blocks, gr.Row():
        with gr.Column(scale=0, min_width=340):
            gr.Markdown("### D²iT\nPaint where detail goes, or drop a photo that has it there; then draw.")
            controls = _controls(model)
        with gr.Column(elem_id="panels"):
            panels = _panels(model)
        _connect(model, controls, panels)
    return blocks


def _controls(model: D2iT) -> Controls:
    import gradio as gr

    two, some = model.grain.grains == 2, model.content.no_class > 0  # grains; classes
    sources = [("the model's own", "model"), ("of the photo", "photo"), ("as painted", "painted")]
    if two:
        sources.insert(1, ("the model's, at the fine ratio", "ratio"))
    guidance, steps, of_region = model.settings.guidance, model.settings.steps, 1 / model.region_grid.area
    with gr.Row():
        label = gr.Dropdown(
            _class_choices(model), value=0, label="class", visible=some, scale=3, min_width=180, elem_id="class"
        )
        seed = gr.Number(0, label="seed", precision=0, minimum=0, scale=1, min_width=80, elem_id="seed")
    return Controls(
        label=label, seed=seed,
        guidance=gr.Slider(
            0, max(MOST_GUIDANCE, guidance), guidance, step=0.1, label="guidance (1 = none)", visible=some,
            elem_id="guidance",
        ),
        steps=gr.Slider(1, max(MOST_STEPS, steps), steps, step=1, label="steps", elem_id="steps"),
        detail=gr.Radio(sources, value="model", label="grain map", elem_id="detail"),
        ratio=gr.Slider(0, 1, 0.5, step=of_region, label="fine ratio", visible=two, elem_id="ratio"),
        button=gr.Button("Draw", variant="primary", elem_id="draw"),
        photo=gr.File(label="photo", file_types=["image"], height=110, elem_id="photo"),
    )  # fmt: skip


def _panels(model: D2iT) -> Panels:
    import gradio as gr

    with gr.Row():
        painted = _regions(model, "map", "grain map", names=_grain_names(model), tokens=[])
        image = _image(model, "image", "image")
    with gr.Row():
        tokens = _regions(model, "tokens", "tokens of each region", names=[], tokens=tokens_per_region(model))
        before = _image(model, "before", "image before")
    line = gr.Markdown("Nothing drawn yet.", elem_id="line")
    return Panels(map=painted, image=image, tokens=tokens, before=before, line=line)


def _connect(model: D2iT, c: Controls, p: Panels) -> None:
    """What happens on a click, a stroke, a photo, and a move of the fine ratio. Functions take and give components."""
    import gradio as gr

    def draw_one(values: dict[Any, Any]) -> dict[Any, Any]:
        wish = Wish(
            label=values[c.label] or 0, seed=values[c.seed] or 0, guidance=values[c.guidance], steps=values[c.steps],
            detail=values[c.detail], fine_ratio=values[c.ratio], painted=values[p.map],
            photo=Path(values[c.photo]) if values[c.photo] else None,
        )  # fmt: skip
        drawing = _or_notice(draw, model, wish)
        text, address = map_text(drawing.grain_map), _data_address(drawing.image)
        return {
            p.map: gr.HTML(text, picture=address), p.image: address, p.before: values[p.image], p.tokens: text,
            p.line: describe(model, drawing),
        }  # fmt: skip

    def sweep(values: dict[Any, Any]) -> dict[Any, Any]:
        chosen = "photo" if values[c.detail] == "photo" else "ratio"
        return draw_one(values | {c.detail: chosen}) | {c.detail: chosen}

    def show_photo(values: dict[Any, Any]) -> dict[Any, Any]:
        pixels, grain_map = _or_notice(map_of_photo, model, Path(values[c.photo]), values[c.ratio])
        text, address = map_text(grain_map), _data_address(Image.fromarray(pixels))
        return {p.map: gr.HTML(text, picture=address), p.tokens: text, c.detail: "photo"}

    one_at_a_time = {
        "concurrency_id": "model", "concurrency_limit": 1, "api_visibility": "private", "show_progress_on": p.image
    }  # fmt: skip
    wish = {c.label, c.seed, c.guidance, c.steps, c.detail, c.ratio, c.photo, p.map, p.image}
    drawn = [p.map, p.image, p.before, p.tokens, p.line]
    c.button.click(draw_one, wish, drawn, **one_at_a_time)
    c.ratio.release(sweep, wish, [*drawn, c.detail], trigger_mode="always_last", **one_at_a_time)
    c.photo.upload(show_photo, {c.photo, c.ratio}, [p.map, p.tokens, c.detail], **one_at_a_time)
    c.photo.clear(None, c.detail, c.detail, js="detail => detail == 'photo' ? 'model' : detail")
    p.map.input(None, None, c.detail, js="() => 'painted'")


def _or_notice(function: Any, *arguments: Any) -> Any:
    """Call it; what the user can mend is a notice on the page."""
    import gradio as gr

    try:
        return function(*arguments)
    except UserError as error:
        raise gr.Error(str(error), print_exception=False) from None


def _regions(model: D2iT, name: str, title: str, *, names: list[str], tokens: list[int]) -> Any:
    """A grid of regions: to paint on with brushes of these names, or, without any, with each region's tokens."""
    import gradio as gr

    return gr.HTML(
        "0" * model.region_grid.area, elem_id=name, html_template=regions.TEMPLATE,
        css_template=regions.style(model.grain.grains, flat=not names), js_on_load=regions.PAINT if names else None,
        title=title, names=names, tokens=tokens, picture="", columns=model.region_grid.width,
        aspect=_aspect(model), **PANEL,
    )  # fmt: skip


def _image(model: D2iT, name: str, title: str) -> Any:
    import gradio as gr

    return gr.HTML(
        "", elem_id=name, html_template=regions.IMAGE, css_template=regions.STYLE, js_on_load=None, title=title,
        aspect=_aspect(model), **PANEL,
    )  # fmt: skip


def _aspect(model: D2iT) -> float:
    return model.image_size.width / model.image_size.height


def _class_choices(model: D2iT) -> list[tuple[str, int]]:
    names = model.class_names or [""] * max(1, model.content.no_class)
    return [(f"{label} {name}".strip(), label) for label, name in enumerate(names)]


def _grain_names(model: D2iT) -> list[str]:
    middle = [f"middle {number}" for number in range(1, model.grain.grains - 1)]
    return ["coarse", *(["middle"] if len(middle) == 1 else middle), "fine"][: model.grain.grains]


def _data_address(image: Image.Image) -> str:
    """An image inside its own address: data:image/png;base64,..."""
    file = io.BytesIO()
    image.save(file, format="PNG")
    return f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"
