"""Self-contained HTML pages: everything escaped, nothing loaded from elsewhere, light and dark, wide and narrow.

`Html` is text that may stand in a page as it is; any other text is escaped where it is put in. The page's policy
forbids scripts and every foreign address, should something slip through all the same.
"""

from __future__ import annotations

import base64
import csv
import html
import io
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from markdown_it import MarkdownIt
from PIL import Image

from drillcore.files import write_text
from drillcore.pages.style import STYLE

_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"
_LARGE = 1400  # pixels of width


class Html(str):
    """Text that is HTML already."""

    __slots__ = ()


Content = object  # Html, text, numbers, None (nothing), or an iterable of them


def element(name: str, /, *content: Content, **attributes: Any) -> Html:
    """Return an element; `class_` becomes class, `data_x` data-x, an attribute of None or False is left out.

    Example:
        >>> element("p", "a < b", class_="note")
        '<p class="note">a &lt; b</p>'
    """
    told = "".join(
        f" {key.rstrip('_').replace('_', '-')}" + ("" if value is True else f'="{html.escape(str(value))}"')
        for key, value in attributes.items()
        if value is not None and value is not False
    )
    if name in ("img", "meta", "br", "hr"):
        return Html(f"<{name}{told}>")
    return Html(f"<{name}{told}>{join(content)}</{name}>")


def join(content: Content) -> Html:
    """Return content as HTML, escaping what is not."""
    if content is None:
        return Html("")
    if isinstance(content, Html):
        return content
    if isinstance(content, Iterable) and not isinstance(content, str):
        return Html("".join(join(part) for part in content))
    return Html(html.escape(str(content)))


def table(
    columns: Sequence[str], rows: Iterable[Sequence[Content]], *, caption: str = "", numbers: int = 1, class_: str = ""
) -> Html:
    """Return a table that scrolls by itself where it is too wide; from column `numbers` on cells stand to the right."""
    head = [element("th", name, scope="col", class_=_side(index, numbers)) for index, name in enumerate(columns)]
    body = [
        element(
            "tr",
            [
                element("th", cell, scope="row") if index == 0 else element("td", cell, class_=_side(index, numbers))
                for index, cell in enumerate(row)
            ],
        )
        for row in rows
    ]
    inner = element(
        "table",
        element("caption", caption) if caption else None,
        element("thead", element("tr", head)),
        element("tbody", body),
    )
    classes = f"scroll {class_}".strip()
    return element("div", inner, class_=classes, tabindex=0, role="region", aria_label=caption or ", ".join(columns))


def facts(pairs: Iterable[tuple[str, Content]], *, long: bool = False) -> Html:
    """Return a list of names and values, one below the other if they are `long`; those without a value are left out."""
    told = [(name, value) for name, value in pairs if value not in (None, "")]
    return element(
        "dl",
        [element("div", element("dt", name), element("dd", value)) for name, value in told],
        class_="one" if long else None,
    )


def section(anchor: str, title: str, *content: Content) -> Html:
    """Return a section that the page's list of contents can point at."""
    return element(
        "section", element("h2", title, id=f"{anchor}-title"), content, id=anchor, aria_labelledby=f"{anchor}-title"
    )


def picture(png: bytes, alt: str, *, caption: str = "", class_: str | None = None) -> Html:
    """Return an image inside the page, its size given so that nothing moves while it is shown.

    Args:
        png: the file's bytes; JPEG and WebP are recognised too.
        alt: what it shows, for those who cannot see it.
        caption: under it.
        class_: of the figure.
    """
    width, height, kind = _size(png)
    data = base64.b64encode(png).decode()
    image = element("img", src=f"data:image/{kind};base64,{data}", alt=alt, width=width, height=height)
    told = element("figcaption", caption) if caption else None
    if class_ and width > _LARGE:  # shrunk to the page, its words could not be read: it scrolls instead
        return element("figure", image, told, class_="large", tabindex=0, role="region", aria_label=alt)
    return element("figure", image, told, class_=class_)


def breakable(text: str) -> Html:
    """Return a long name that may be broken after each underscore, slash or hyphen."""
    return Html(re.sub(r"([_/-])", r"\1<wbr>", html.escape(text)))


def badge(text: str, kind: str = "") -> Html:
    """Return a short word in a box; kind: good, bad, or none."""
    return element("span", text, class_=f"badge {kind}".strip())


def commands(*lines: str) -> Html:
    """Return commands to type, one a line, in a box."""
    return element("pre", "\n".join(lines), class_="command")


def details(summary: Content, *content: Content, open_: bool = False) -> Html:
    """Return what is shown only when asked for."""
    return element("details", element("summary", summary), content, open=open_)


def page(title: str, header: Content, contents: Sequence[tuple[str, str]], *body: Content, footer: str = "") -> str:
    """Return a whole page.

    Args:
        title: of the window.
        header: what stands first.
        contents: (anchor, name) of the sections.
        body: the sections.
        footer: one line at the end.
    """
    links = [element("li", element("a", name, href=f"#{anchor}")) for anchor, name in contents]
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", http_equiv="Content-Security-Policy", content=_POLICY),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", name="color-scheme", content="light dark"),
        element("meta", name="referrer", content="no-referrer"),
        element("title", title),
        element("style", Html(STYLE)),
    )
    whole = element(
        "body",
        element("a", "Skip to the content", href="#content", class_="skip"),
        element("header", header),
        element("nav", element("ul", links), aria_label="Contents") if links else None,
        element("main", body, id="content"),
        element("footer", footer) if footer else None,
    )
    return f"<!doctype html>\n{element('html', head, whole, lang='en')}\n"


def write_page(
    folder: Path, text: str, table: str, columns: Sequence[str], rows: Iterable[Mapping[str, object]]
) -> list[Path]:
    """Write a page as `index.html`, and a table beside it as CSV; return both paths.

    Args:
        folder: made if need be.
        text: of the page.
        table: name of the CSV file.
        columns: in their order.
        rows: a value for each column.
    """
    stream = io.StringIO()
    writer = csv.DictWriter(stream, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    folder.mkdir(parents=True, exist_ok=True)
    write_text(folder / table, stream.getvalue())
    write_text(folder / "index.html", text)
    return [folder / "index.html", folder / table]


def markdown(text: str) -> Html:
    """Return CommonMark with tables as HTML; HTML in it is shown as text, pictures as their description.

    Dangerous addresses (javascript:, data:, ...) are left as text by the parser.
    """
    parser = MarkdownIt("commonmark", {"html": False}).enable("table").disable("image")
    return element("div", Html(parser.render(text)), class_="prose")


def _size(data: bytes) -> tuple[int, int, str]:
    with Image.open(io.BytesIO(data), formats=("PNG", "JPEG", "WEBP")) as image:
        return image.width, image.height, str(image.format).lower()


def _side(index: int, numbers: int) -> str | None:
    return "n" if index >= numbers else None
