"""The page's files, without a browser: what they may hold, what they ask for, how they are sent, how they are read."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from html.parser import HTMLParser
from itertools import product
from pathlib import Path

import pytest
from online_case import Running

from drillcore_serving.online.app import PAGE

FILES = sorted(path for path in PAGE.iterdir() if path.is_file())
TYPES = {".html": "text/html", ".css": "text/css", ".js": "javascript", ".svg": "image/svg+xml"}
# Words on grounds: (ink, ground) as style.css pairs them.
PAIRS = [
    *product(("ink", "quiet", "accent"), ("ground", "panel")),
    ("ink", "soft"),
    ("quiet", "soft"),
    ("accent", "soft"),
    ("on-accent", "accent"),
    ("bad", "bad-ground"),
    ("bad", "panel"),
    ("warn", "warn-ground"),
]


class Elements(HTMLParser):
    """All elements of a page with their attributes."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))


def elements() -> list[tuple[str, dict[str, str | None]]]:
    return Elements((PAGE / "index.html").read_text()).found


def test_nothing_inline_and_nothing_from_other_hosts() -> None:
    for tag, attributes in elements():
        assert tag != "style"
        assert tag != "script" or "src" in attributes
        assert not [name for name in attributes if name == "style" or name.startswith("on")]
        for name in ("src", "href"):
            address = attributes.get(name) or ""
            assert not re.match(r"(?i)[a-z]+:|//", address), address
    for path in FILES:
        text = path.read_text()
        # An XML namespace names no place to load from; the card's links are opened by people.
        hosts = re.findall(r"""["'(](?:https?:)?//[^"')\s]+""", text.replace("http://www.w3.org/2000/svg", ""))
        assert hosts == [], path.name
        for word in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "new Function"):
            assert word not in text, (path.name, word)
        assert "@import" not in text


def test_every_file_that_is_named_is_there_and_every_file_is_named() -> None:
    named = {
        str(value) for _, attributes in elements() for name, value in attributes.items() if name in ("src", "href")
    }
    for path in FILES:
        if path.suffix == ".js":
            named |= {f"static/{name}" for name in re.findall(r'from "\./([^"]+)"', path.read_text())}
    named = {name for name in named if name.startswith("static/")}
    assert named | {"static/index.html"} == {f"static/{path.name}" for path in FILES}


def test_elements_that_scripts_ask_for_are_in_the_page() -> None:
    there = {attributes.get("id") for _, attributes in elements()}
    asked = {name for path in FILES for name in re.findall(r'byId\("([^"]+)"\)', path.read_text())}
    assert asked <= there, asked - there
    labelled = {attributes.get("for") for tag, attributes in elements() if tag == "label"}
    assert {"choose", "key"} <= labelled


def test_what_the_server_sends(tiny_server: Running) -> None:
    page = tiny_server.client.get("/")
    assert (page.status_code, page.headers["content-type"]) == (200, "text/html; charset=utf-8")
    policy = page.headers["content-security-policy"]
    assert "script-src 'self'" in policy
    assert "unsafe" not in policy
    for path in FILES:
        answer = tiny_server.client.get(f"/static/{path.name}")
        assert answer.content == path.read_bytes()
        assert TYPES[path.suffix] in answer.headers["content-type"]


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_contrast_of_text_is_that_of_wcag_aa(theme: str) -> None:
    blocks = re.findall(r"(?s)^:root(\S*) \{(.*?)\}", (PAGE / "style.css").read_text(), re.M)
    assert [name for name, _ in blocks] == ["", '[data-theme="dark"]']
    colours = dict(re.findall(r"--([\w-]+): #([0-9a-f]{6});", blocks[theme == "dark"][1]))
    for ink, ground in PAIRS:
        assert contrast(colours[ink], colours[ground]) >= 4.5, (ink, ground)
    for edge in ("edge", "accent"):  # borders of what is used, and the ring of focus
        assert contrast(colours[edge], colours["panel"]) >= 3


def contrast(one: str, other: str) -> float:
    """Ratio of WCAG 2.2, 1.4.3."""

    def luminance(colour: str) -> float:
        levels = [int(colour[place : place + 2], 16) / 255 for place in (0, 2, 4)]
        linear = [level / 12.92 if level <= 0.04045 else ((level + 0.055) / 1.055) ** 2.4 for level in levels]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


NODE = """
import { readFileSync } from "node:fs";
globalThis.document = {
  createElement: (tag) => ({
    tag,
    children: [],
    append(...more) { this.children.push(...more); },
    setAttribute(name, value) { this[name] = value; },
  }),
  createDocumentFragment: () => document.createElement("fragment"),
};
const { rendered } = await import("./card.mjs");
const said = (node) => (
  typeof node === "string" ? node : { tag: node.tag, href: node.href, in: node.children.map(said) }
);
console.log(JSON.stringify(said(rendered(readFileSync(0, "utf8")))));
"""


@pytest.mark.skipif(
    shutil.which("node") is None, reason="no node: the card's reader is run in the browser's tests only"
)
def test_a_card_becomes_elements_and_text(tmp_path: Path) -> None:
    for path in PAGE.glob("*.js"):
        text = re.sub(r'(from "\./\w+)\.js"', r'\1.mjs"', path.read_text())
        (tmp_path / f"{path.stem}.mjs").write_text(text)
    (tmp_path / "run.mjs").write_text(NODE)
    card = (
        "## T\na **b** `c`\nd\n\n| h |\n|---|\n| *i* |\n\n- x\n  y\n\n```\n<b>\n```\n"
        "[l](https://e.org/) [m](javascript:alert(1)) <script>\n"
    )
    done = subprocess.run(["node", "run.mjs"], cwd=tmp_path, input=card, capture_output=True, text=True, check=True)

    def flat(node: str | dict) -> str:
        if isinstance(node, str):
            return node
        link = f" {node['href']}" if node.get("href") else ""
        return f"<{node['tag']}{link}>{''.join(map(flat, node['in']))}</>"

    assert flat(json.loads(done.stdout)) == (
        "<fragment><h4>T</><p>a <strong>b</> <code>c</> d</>"
        "<div><table><thead><tr><th>h</></></><tbody><tr><td><em>i</></></></></></>"
        "<ul><li>x y</></><pre><code><b></></>"
        "<p><a https://e.org/>l</> m <script></></>"
    )
