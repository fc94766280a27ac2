"""Pages load nothing, run nothing, and show hostile text as text."""

from __future__ import annotations

import io

import numpy as np
import pytest
from harmless import check_harmless, read
from PIL import Image

from drillcore.pages.html import Html, breakable, details, element, facts, join, markdown, page, picture, table

HOSTILE = "<script>alert(1)</script>\"'&<img src=x onerror=alert(1)>"


def png() -> bytes:
    stream = io.BytesIO()
    Image.fromarray(np.zeros((3, 5), np.uint8)).save(stream, "PNG")
    return stream.getvalue()


def test_text_and_attributes_are_escaped() -> None:
    made = element("p", HOSTILE, ["a", 3, None, element("b", HOSTILE)], title=HOSTILE)
    check_harmless(made)
    assert [tag for tag, _ in read(made)] == ["p", "b"]
    assert dict(read(made)[0][1])["title"] == HOSTILE


def test_attributes_of_none_are_left_out() -> None:
    assert element("details", open=False, class_=None) == "<details></details>"
    assert element("td", 1, class_="n", aria_label="x") == '<td class="n" aria-label="x">1</td>'


def test_html_is_kept_and_everything_else_is_not() -> None:
    assert join([Html("<b>x</b>"), "<b>"]) == "<b>x</b>&lt;b&gt;"


def test_every_part_takes_hostile_text() -> None:
    body = [
        table([HOSTILE, "n"], [[HOSTILE, HOSTILE]], caption=HOSTILE),
        facts([(HOSTILE, HOSTILE), ("empty", ""), ("zero", 0)]),
        details(HOSTILE, HOSTILE),
        picture(png(), HOSTILE, caption=HOSTILE),
        element("p", breakable(HOSTILE)),
        markdown(HOSTILE),
    ]
    whole = page(HOSTILE, HOSTILE, [("a", HOSTILE)], body, footer=HOSTILE)
    check_harmless(whole)
    assert "<dt>zero</dt><dd>0</dd>" in whole
    assert "<dt>empty" not in whole


def test_the_policy_forbids_scripts_and_other_hosts() -> None:
    [policy] = [a["content"] for t, a in read(page("t", "h", [])) if a.get("http-equiv") == "Content-Security-Policy"]
    assert policy is not None
    assert "default-src 'none'" in policy
    assert "script-src" not in policy


@pytest.mark.parametrize(
    "text",
    [
        "![x](https://example.com/x.png)",
        "![x](data:image/svg+xml;base64,AAAA)",
        "[x](javascript:alert(1))",
        "[x](data:text/html;base64,AAAA)",
        "<https://example.com/?<script>>",
        "<iframe src=//example.com>\n\n<div onclick=x>",
        "[x]: javascript:alert(1)\n\n[x]",
        "| a |\n|---|\n| <img src=x onerror=y> |",
    ],
)
def test_markdown_is_harmless(text: str) -> None:
    check_harmless(markdown(text))


def test_markdown_shows_tables_and_lists() -> None:
    tags = [tag for tag, _ in read(markdown("# T\n\n| a |\n|---|\n| 1 |\n\n- x\n"))]
    assert {"h1", "table", "td", "ul", "li"} <= set(tags)


def test_pictures_say_their_size_and_wide_ones_scroll() -> None:
    [_, (_, image)] = read(picture(png(), "three rows"))
    assert (image["width"], image["height"]) == ("5", "3")
    stream = io.BytesIO()
    Image.fromarray(np.zeros((2, 2000), np.uint8)).save(stream, "PNG")
    assert 'class="large"' in picture(stream.getvalue(), "wide", class_="wide")
    assert breakable("a_b/c") == "a_<wbr>b/<wbr>c"
