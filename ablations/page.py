"""A page of headings, texts, tables and pictures, as Markdown beside its pictures and as one HTML file."""

import base64
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path


@dataclass(frozen=True)
class Link:
    """Words that lead elsewhere."""

    text: str
    url: str


@dataclass(frozen=True)
class Code:
    """A command or a name."""

    text: str


@dataclass(frozen=True)
class Strong:
    """Words that stand out."""

    text: str


Inline = str | Link | Code | Strong
Words = Sequence[Inline] | str


@dataclass(frozen=True)
class Heading:
    """Of a part of the page."""

    text: str


@dataclass(frozen=True)
class Paragraph:
    """Some sentences."""

    words: Words


@dataclass(frozen=True)
class Cells:
    """A table with a head."""

    head: tuple[str, ...]
    rows: tuple[tuple[Words, ...], ...]


@dataclass(frozen=True)
class Picture:
    """A picture with a caption."""

    name: str  # of its file: samples-8.png, curve.svg
    data: bytes
    caption: str

    @property
    def kind(self) -> str:
        """Its media type."""
        return "image/svg+xml" if self.name.endswith(".svg") else "image/png"


Block = Heading | Paragraph | Cells | Picture


@dataclass(frozen=True)
class Page:
    """All of it."""

    name: str
    title: str
    blocks: tuple[Block, ...]


def write(page: Page, folder: Path) -> tuple[Path, Path]:
    """Write <name>.md with its pictures in <name>/, and <name>.html; returns both paths."""
    pictures = folder / page.name
    pictures.mkdir(parents=True, exist_ok=True)
    for old in [*pictures.glob("*.png"), *pictures.glob("*.svg")]:  # of an earlier report
        old.unlink()
    for block in page.blocks:
        if isinstance(block, Picture):
            (pictures / block.name).write_bytes(block.data)
    paths = folder / f"{page.name}.md", folder / f"{page.name}.html"
    for path, text in zip(paths, (markdown(page), html(page)), strict=True):
        path.write_text(text, encoding="utf-8")
    return paths


def markdown(page: Page) -> str:
    """As GitHub reads it."""
    return "\n\n".join([f"# {page.title}", *(_markdown_block(block, page.name) for block in page.blocks)]) + "\n"


def _markdown_block(block: Block, folder: str) -> str:
    match block:
        case Heading(text):
            return f"## {text}"
        case Paragraph(words):
            return _markdown_words(words)
        case Picture(name, _, caption):
            return f"![{caption}]({folder}/{name})\n\n*{caption}*"
        case Cells(head, rows):
            lines = [head, tuple("---" for _ in head), *(tuple(map(_markdown_words, row)) for row in rows)]
            return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _markdown_words(words: Words) -> str:
    found = ""
    for word in [words] if isinstance(words, str) else words:
        match word:
            case Link(text, url):
                found += f"[{text}]({url})"
            case Code(text):
                found += f"`{text}`"
            case Strong(text):
                found += f"**{text}**"
            case str():
                found += word.replace("|", "\\|")
    return found


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
figure { margin: 1rem 0 } figcaption { font-size: .85rem; opacity: .8 }
img { max-width: 100%; height: auto; image-rendering: auto }
img.png { width: 100% } img.svg { width: 34rem }
"""


def html(page: Page) -> str:
    """One file that needs no other, and no script."""
    parts = "\n".join(part for block in page.blocks for part in _html_block(block))
    return (
        f'<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">\n<title>{escape(page.title)}</title>\n'
        f"<style>{STYLE}</style>\n</head>\n<body>\n<h1>{escape(page.title)}</h1>\n{parts}\n</body>\n</html>\n"
    )


def _html_block(block: Block) -> Iterator[str]:
    match block:
        case Heading(text):
            yield f"<h2>{escape(text)}</h2>"
        case Paragraph(words):
            yield f"<p>{_html_words(words)}</p>"
        case Picture(name, data, caption):
            kind = name.rpartition(".")[2]
            source = f"data:{block.kind};base64,{base64.b64encode(data).decode()}"
            yield f'<figure><img class="{kind}" alt="{escape(caption)}" src="{source}">'
            yield f"<figcaption>{escape(caption)}</figcaption></figure>"
        case Cells(head, rows):
            yield '<div class="table"><table>'
            yield f"<tr>{''.join(f'<th>{escape(text)}</th>' for text in head)}</tr>"
            yield from (f"<tr>{''.join(f'<td>{_html_words(cell)}</td>' for cell in row)}</tr>" for row in rows)
            yield "</table></div>"


def _html_words(words: Words) -> str:
    found = ""
    for word in [words] if isinstance(words, str) else words:
        match word:
            case Link(text, url):
                found += f'<a href="{escape(url)}">{escape(text)}</a>'
            case Code(text):
                found += f"<code>{escape(text)}</code>"
            case Strong(text):
                found += f"<strong>{escape(text)}</strong>"
            case str():
                found += escape(word)
    return found
