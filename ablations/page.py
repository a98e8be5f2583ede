"""A page of texts, tables and pictures: Markdown beside its pictures, and the same Markdown as one HTML file."""

import base64
import re
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from string import Template

from markdown_it import MarkdownIt
from tabulate import tabulate

from d2it.files import write_text

HTML = Path(__file__).with_name("page.html")  # around the page's body


@dataclass(frozen=True)
class Picture:
    """A picture with a caption."""

    name: str  # of its file: samples-8.png, curve.svg
    data: bytes
    caption: str  # plain text

    @property
    def embedded(self) -> str:
        """A data URI."""
        kind = "svg+xml" if self.name.endswith(".svg") else "png"
        return f"data:image/{kind};base64,{base64.b64encode(self.data).decode()}"


Block = str | Picture  # text: Markdown


@dataclass(frozen=True)
class Page:
    """All of it."""

    name: str
    title: str
    blocks: tuple[Block, ...]

    @property
    def pictures(self) -> dict[str, Picture]:
        """By the path that the Markdown gives them."""
        return {f"{self.name}/{block.name}": block for block in self.blocks if isinstance(block, Picture)}


def plain(text: str) -> str:
    """Text as Markdown that shows it unchanged, also inside a table."""
    return re.sub(r"[\\`*<>\[\]|~&]|(?<!\w)_|_(?!\w)", r"\\\g<0>", text)


def pipe_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table of Markdown, without columns in which every cell is empty."""
    columns = [column for column in zip(head, *rows, strict=True) if any(column[1:])]
    shown = list(zip(*columns, strict=True))
    return tabulate(shown[1:], shown[0], tablefmt="github", disable_numparse=True)


def write(page: Page, folder: Path) -> tuple[Path, Path]:
    """Write <name>.md with its pictures in <name>/, and <name>.html; returns both paths."""
    (folder / page.name).mkdir(parents=True, exist_ok=True)
    for old in [*(folder / page.name).glob("*.png"), *(folder / page.name).glob("*.svg")]:  # of an earlier report
        old.unlink()
    for path, picture in page.pictures.items():
        (folder / path).write_bytes(picture.data)
    paths = folder / f"{page.name}.md", folder / f"{page.name}.html"
    for target, text in zip(paths, (markdown(page), html(page)), strict=True):
        write_text(target, text)
    return paths


def markdown(page: Page) -> str:
    """As GitHub reads it."""
    form = "![{0}]({1}/{2})\n\n*{0}*"
    blocks = [b if isinstance(b, str) else form.format(plain(b.caption), page.name, b.name) for b in page.blocks]
    return "\n\n".join([f"# {plain(page.title)}", *blocks]) + "\n"


def html(page: Page) -> str:
    """One file that needs no other, and no script."""
    parser = MarkdownIt("js-default")  # tables, and no HTML from the text
    parser.add_render_rule("table_open", lambda *_: '<div class="table"><table>\n')
    parser.add_render_rule("table_close", lambda *_: "</table></div>\n")
    tokens = parser.parse(markdown(page))
    for image in (part for token in tokens for part in token.children or () if part.type == "image"):
        image.attrs["src"] = page.pictures[str(image.attrs["src"])].embedded
    body = parser.renderer.render(tokens, parser.options, {})
    return Template(HTML.read_text(encoding="utf-8")).substitute(title=escape(page.title), body=body)
