"""Texts of a page mean the same in Markdown and in HTML, whatever characters they hold."""

import base64
import re
from html import unescape
from pathlib import Path

import pytest

from ablations.page import Page, Picture, html, markdown, pipe_table, plain, write

LABELS = [
    "+ DVAE",
    "a | b",
    "<b>bold</b>",
    "*",
    "_x_",
    "loss_weighting",
    "`",
    "[a](b)",
    "~~a~~",
    "&lt;",
    "\\",
    "r = 0.1",
]


@pytest.mark.parametrize("label", LABELS)
def test_a_label_is_shown_as_it_is_in_texts_tables_and_captions(label: str) -> None:
    picture = Picture("a.png", b"", label)
    page = Page("name", label, (f"Text: {plain(label)}", pipe_table(["head"], [[plain(label)]]), picture))
    text = html(page)
    shown = {tag: re.findall(f"<{tag}>(.*?)</{tag}>", text) for tag in ("title", "h1", "p", "td", "em")}
    assert {tag: [unescape(one) for one in texts] for tag, texts in shown.items() if tag != "p"} == {
        tag: [label] for tag in ("title", "h1", "td", "em")
    }
    assert unescape(shown["p"][0]) == f"Text: {label}"
    assert f'alt="{label}"' in unescape(text)


def test_names_of_params_are_written_without_escapes() -> None:
    assert plain("refinenet.window = 16: must divide data.image_size") == (
        "refinenet.window = 16: must divide data.image_size"
    )


def test_markdown_in_texts_becomes_code_links_and_bold_words() -> None:
    text = html(Page("name", "Title", ("`dvc` **best** [MLflow](http://127.0.0.1:5000/#/runs?a=1&b=2)",)))
    assert "<code>dvc</code> <strong>best</strong>" in text
    assert '<a href="http://127.0.0.1:5000/#/runs?a=1&amp;b=2">MLflow</a>' in text


def test_a_picture_is_beside_the_markdown_and_inside_the_html(tmp_path: Path) -> None:
    page = Page("name", "Title", (Picture("a.svg", b"<svg/>", "A"),))
    (tmp_path / "name").mkdir()
    (tmp_path / "name" / "older.png").write_bytes(b"")
    assert write(page, tmp_path) == (tmp_path / "name.md", tmp_path / "name.html")
    assert [path.name for path in (tmp_path / "name").iterdir()] == ["a.svg"]
    assert "![A](name/a.svg)\n\n*A*" in markdown(page)
    encoded = base64.b64encode(b"<svg/>").decode()
    assert f'src="data:image/svg+xml;base64,{encoded}"' in (tmp_path / "name.html").read_text(encoding="utf-8")
