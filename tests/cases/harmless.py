"""Pages that load nothing and run nothing, whatever they show."""

from __future__ import annotations

import re
from html.parser import HTMLParser


class Reader(HTMLParser):
    """Collects tags and their attributes, and checks that they close in order."""

    VOID = ("img", "meta", "br", "hr", "wbr")

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def read(text: str) -> list[tuple[str, dict[str, str | None]]]:
    reader = Reader()
    reader.feed(text)
    reader.close()
    assert not reader.open
    return reader.tags


def check_harmless(text: str) -> None:
    """No script, no handler, nothing loaded from elsewhere, every image described."""
    for tag, attributes in read(text):
        assert tag not in ("script", "iframe", "object", "embed", "link", "form", "base", "svg")
        assert not [name for name in attributes if name.startswith("on")]
        if tag == "img":
            assert (attributes["src"] or "").startswith("data:image/")
            assert attributes["alt"]
        if "href" in attributes:
            assert re.match(r"(#|https?://|mailto:)", attributes["href"] or "")
    assert "@import" not in text
    assert "url(" not in text
