"""A page of texts, tables and pictures: Markdown beside its pictures, and the same Markdown as one HTML file."""

import base64
import re
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

from markdown_it import MarkdownIt
from tabulate import tabulate

from d2it.files import write_text


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
    """A table of Markdown."""
    return tabulate(rows, head, tablefmt="github", disable_numparse=True)


def write(page: Page, folder: Path) -> tuple[Path, Path]:
    """Write <name>.md with its pictures in <name>/, and <name>.html; returns both paths."""
    (folder / page.name).mkdir(parents=True, exist_ok=True)
    for pattern in ("*.png", "*.svg"):  # of an earlier report
        for old in (folder / page.name).glob(pattern):
            old.unlink()
    for path, picture in page.pictures.items():
        (folder / path).write_bytes(picture.data)
    paths = folder / f"{page.name}.md", folder / f"{page.name}.html"
    for target, text in zip(paths, (markdown(page), html(page)), strict=True):
        write_text(target, text)
    return paths


def markdown(page: Page) -> str:
    """As GitHub reads it."""
    blocks = [f"# {plain(page.title)}"]
    for block in page.blocks:
        if isinstance(block, Picture):
            caption = plain(block.caption)
            block = f"![{caption}]({page.name}/{block.name})\n\n*{caption}*"
        blocks.append(block)
    return "\n\n".join(blocks) + "\n"


STYLE = """
:root { color-scheme: light dark; --ink: #1c1c1c; --paper: #fff; --line: #ddd; --soft: #f4f4f4; --link: #1a5fb4 }
@media (prefers-color-scheme: dark) {
  :root { --ink: #ddd; --paper: #16181c; --line: #3a3d44; --soft: #22252b; --link: #7ab0ff }
}
* { box-sizing: border-box }
body { margin: 0 auto; padding: 1rem; max-width: 60rem; background: var(--paper); color: var(--ink);
  font: 16px/1.5 system-ui, sans-serif }
h1 { font-size: 1.5rem; line-height: 1.2 } h2 { font-size: 1.15rem; margin-top: 2rem }
a { color: var(--link) } p, a { overflow-wrap: anywhere }
.table { overflow-x: auto }
table { border-collapse: collapse; width: 100%; font-size: .92rem }
th, td { padding: .4rem .5rem; border-bottom: 1px solid var(--line); text-align: left; vertical-align: top }
th { background: var(--soft) } td:not(:first-child) { font-variant-numeric: tabular-nums }
code { font-size: .85em; background: var(--soft); padding: .1em .3em; border-radius: .2em; overflow-wrap: anywhere }
p:has(> img) { margin-bottom: 0 } p:has(> img) + p { margin-top: .3rem; font-size: .85rem; opacity: .8 }
img { display: block; max-width: 100%; height: auto }
img[src^="data:image/png"] { width: 100% } img[src^="data:image/svg"] { width: 34rem }
"""


def html(page: Page) -> str:
    """One file that needs no other, and no script."""
    parser = MarkdownIt("js-default")  # tables, and no HTML from the text
    parser.add_render_rule("table_open", lambda *_: '<div class="table"><table>\n')
    parser.add_render_rule("table_close", lambda *_: "</table></div>\n")
    tokens = parser.parse(markdown(page))
    for image in (part for token in tokens for part in token.children or () if part.type == "image"):
        image.attrs["src"] = page.pictures[str(image.attrs["src"])].embedded
    body = parser.renderer.render(tokens, parser.options, {})
    return (
        f'<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">\n<title>{escape(page.title)}</title>\n'
        f"<style>{STYLE}</style>\n</head>\n<body>\n{body}</body>\n</html>\n"
    )
