"""The page in real Chromium, against the server as a process: what a person drops, sees, hears and saves.

Screenshots are kept with the test run, or in .drillcore/screenshots where DRILLCORE_SCREENSHOTS is set.
"""

from __future__ import annotations

import io
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import dense_case
import numpy as np
import pytest
from online_case import png, serve_tiny
from PIL import Image
from segment_case import write_segment_model
from tiny_models import UNSURE

from drillcore.runtime.model.served import put_blob, write_pointer
from drillcore.settings import Settings

CHROMIUM = Path("/usr/bin/chromium")
pytestmark = pytest.mark.skipif(not CHROMIUM.exists(), reason=f"no {CHROMIUM}; apt-get install chromium brings it")
sync_api = pytest.importorskip("playwright.sync_api", reason="playwright drives the browser")
sync_api.expect.set_options(timeout=30_000)  # as pages have it: a busy machine answers late, not wrongly

MODELS = ("tiny", "tiny-dense", "tiny-values", "parted")
KEY = "a-key-of-the-page-0123"
CARD = """# tiny

Says **what** a grey level is. <img src=x onerror="document.title='broken in'">

## Figures

| level | class |
|---|---|
| `0` | first [here](https://example.org/paper) and [not](javascript:alert(1)) |

- one
- two
"""
CONTRAST = """() => {
  const canvas = document.createElement('canvas').getContext('2d', {willReadFrequently: true});
  const read = (colour) => {
    canvas.clearRect(0, 0, 1, 1); canvas.fillStyle = colour; canvas.fillRect(0, 0, 1, 1);
    return [...canvas.getImageData(0, 0, 1, 1).data];
  };
  const light = (c) => { const v = c / 255; return v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4; };
  const luminance = ([r, g, b]) => 0.2126 * light(r) + 0.7152 * light(g) + 0.0722 * light(b);
  const behind = (element) => {
    for (let at = element; at; at = at.parentElement) {
      const colour = read(getComputedStyle(at).backgroundColor);
      if (colour[3] === 255) return colour;
    }
    return [255, 255, 255, 255];
  };
  const found = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const element = walker.currentNode.parentElement;
    if (!walker.currentNode.data.trim() || !element.checkVisibility() || element.closest('noscript, :disabled'))
      continue;
    const style = getComputedStyle(element);
    const [one, other] = [luminance(read(style.color)), luminance(behind(element))];
    const ratio = (Math.max(one, other) + 0.05) / (Math.min(one, other) + 0.05);
    found.push([ratio, walker.currentNode.data.trim().slice(0, 40)]);
  }
  return found;
}"""


class Server:
    """`drillcore serve` as a process that may be ended and started again at the same address."""

    def __init__(self, settings: Settings, *arguments: str, **env: str) -> None:
        own = {"DRILLCORE_ROOT": str(settings.root), "DRILLCORE_THREADS": "1", "DRILLCORE_WORKERS": "1"}
        self._command = [sys.executable, "-m", "drillcore", "serve", *MODELS, *arguments]
        self._env = {**os.environ, **own, **env}
        self.port = "0"
        self.start()

    def start(self) -> None:
        self.process = subprocess.Popen(
            [*self._command, "--port", self.port],
            env=self._env,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        assert self.process.stdout is not None
        self.url = self.process.stdout.readline().split(" ")[0]
        self.port = self.url.rpartition(":")[2]

    def stop(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.communicate()


def picture(kind: str = "PNG", size: tuple[int, int] = (60, 90)) -> bytes:
    """A grey ramp with a bright square: the dense model sees all of its three classes in it."""
    height, width = size
    pixels = np.tile(np.linspace(40, 160, width), (height, 1))
    pixels[height // 3 : height // 2, width // 5 : width // 3] = 250
    stream = io.BytesIO()
    Image.fromarray(pixels.astype(np.uint8)).save(stream, kind)
    return stream.getvalue()


def png_bytes(pixels: np.ndarray) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    return stream.getvalue()


def file(name: str = "ramp.png", data: bytes | None = None, kind: str = "image/png") -> dict[str, Any]:
    return {"name": name, "mimeType": kind, "buffer": picture() if data is None else data}


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    root = tmp_path_factory.mktemp("checkout")
    (root / "models").mkdir()
    (root / "models" / "tiny.md").write_text(CARD)
    settings = Settings.load(root, env={"DRILLCORE_THREADS": "1", "DRILLCORE_WORKERS": "1", "DRILLCORE_DEVICE": "cpu"})
    serve_tiny(settings, 3)
    dense_case.serve_dense(settings)
    values = dense_case.tiny_dense.write_tiny_dense(settings.state / "values.onnx", "dense_regression")
    write_pointer(settings, "tiny-values", 2, put_blob(settings, values))
    parted = write_segment_model(settings.state / "parted.onnx")
    write_pointer(settings, "parted", 1, put_blob(settings, parted))
    return settings


@pytest.fixture(scope="module")
def server(checkout: Settings) -> Iterator[Server]:
    running = Server(checkout)
    yield running
    running.stop()


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with sync_api.sync_playwright() as playwright:
        arguments = ["--no-sandbox"] if hasattr(os, "geteuid") and os.geteuid() == 0 else []
        yield playwright.chromium.launch(executable_path=str(CHROMIUM), args=arguments)


@pytest.fixture
def visit(browser: Any, server: Server) -> Iterator[Callable[..., Any]]:
    """Open the page: `visit(model="tiny")`; what the browser complains of fails the test."""
    opened: list[Any] = []
    complaints: list[str] = []

    def begin(
        model: str = "tiny", url: str = "", before: Callable[[Any], None] = lambda page: None, **options: Any
    ) -> Any:
        context = browser.new_context(
            **{"viewport": {"width": 1280, "height": 900}, "accept_downloads": True, **options}
        )
        opened.append(context)
        page = context.new_page()
        page.set_default_timeout(30_000)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on(
            "console", lambda message: complaints.append(message.text) if "Content Security" in message.text else None
        )
        base = url or server.url
        page.on(
            "request",
            lambda request: (
                complaints.append(request.url) if not request.url.startswith((base, "blob:", "data:")) else None
            ),
        )
        before(page)
        page.goto(f"{base}/#{model}")
        return page

    yield begin
    for context in opened:
        context.close()
    assert complaints == []


@pytest.fixture
def shoot(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[..., Path]:
    """Keep a screenshot under a name."""
    folder = tmp_path
    if os.environ.get("DRILLCORE_SCREENSHOTS"):
        folder = request.config.rootpath / ".drillcore" / "screenshots"
        folder.mkdir(parents=True, exist_ok=True)

    def keep(page: Any, name: str, *, whole: bool = True) -> Path:
        path = folder / f"{name}.png"
        page.screenshot(path=str(path), full_page=whole)
        assert path.stat().st_size > 5000
        return path

    return keep


def expect(locator: Any) -> Any:
    return sync_api.expect(locator)


def test_a_class_with_bars_timings_version_and_card(visit: Any, shoot: Any) -> None:
    page = visit()
    expect(page.locator("#about h2")).to_have_text("tiny")
    shoot(page, "empty")
    page.set_input_files("#choose", [file("level.png", png(200))])
    answer = page.locator("#answer")
    expect(answer.locator(".verdict strong")).not_to_be_empty()
    bars = answer.locator(".bars li")
    shares = [float(text.strip("<>% ")) for text in bars.locator(".number").all_inner_texts()]
    assert 1 < len(shares) <= 5
    assert shares == sorted(shares, reverse=True)
    first = bars.first.locator(".fill").bounding_box()["width"] / bars.first.locator(".track").bounding_box()["width"]
    assert abs(100 * first - shares[0]) < 2
    expect(answer.locator(".who")).to_contain_text("version 3")
    for words in ("Decode", "Queue", "Infer", "Round trip"):
        expect(answer.locator(".times")).to_contain_text(words)
    expect(page.locator("#live")).to_contain_text("level.png: ")
    card = page.locator(".card")
    expect(card.locator("table td").first).to_have_text("0")
    expect(card.locator("li")).to_have_count(2)
    expect(card.locator("a")).to_have_count(1)
    expect(card.locator("img")).to_have_count(0)
    expect(card.locator("td").nth(1)).to_have_text("first here and not")
    expect(card).to_contain_text("<img src=x")
    shoot(page, "classification")
    answer.get_by_role("button", name="Show what spoke for").click()
    expect(answer.get_by_role("status")).to_contain_text("Red: hiding it makes")
    expect(answer.locator("figure img")).to_have_attribute("alt", re.compile("red where it spoke for"))
    shoot(page, "spoken")


def test_labels_over_the_image(visit: Any, shoot: Any) -> None:
    page = visit("tiny-dense")
    page.set_input_files("#choose", [file()])
    canvas = page.locator("#answer canvas")
    expect(canvas).to_be_visible()
    legend = page.locator(".legend li")
    expect(legend).to_have_count(3)
    assert {text.split("\n")[0] for text in legend.all_inner_texts()} == {"sea", "shore", "ship"}
    image = np.array(Image.open(io.BytesIO(picture())))[:, :, None]
    expected = dense_case.tiny_dense.expected_label(image)

    def pixels() -> np.ndarray:
        levels = canvas.evaluate("(c) => [...c.getContext('2d').getImageData(0, 0, c.width, c.height).data]")
        return np.array(levels, np.uint8).reshape(*expected.shape, 4)

    shown = pixels()
    np.testing.assert_array_equal(shown[..., 3] > 0, expected > 0)  # black is left out
    assert set(np.unique(shown[..., 3])) == {0, 128}
    page.locator("#opacity").focus()
    page.keyboard.press("End")
    expect(page.locator(".slider output")).to_have_text("100 %")
    assert set(np.unique(pixels()[..., 3])) == {0, 255}
    page.locator("#opacity").fill("50")
    shoot(page, "overlay")
    ship = page.locator(".legend button", has_text="ship")
    ship.hover()
    dimmed = pixels()
    np.testing.assert_array_equal(dimmed[..., 0] == 0, expected != 2)
    shoot(page, "one-class")
    page.mouse.move(0, 0)
    page.get_by_role("radio", name="Labels").check()
    flat = pixels()
    np.testing.assert_array_equal(flat[..., :3], np.array(dense_case.tiny_dense.COLOURS, np.uint8)[expected])
    page.get_by_role("radio", name="Image").check()
    expect(canvas).to_be_hidden()
    page.get_by_role("radio", name="Both").check()
    canvas.hover()
    expect(page.locator(".under-pointer")).to_have_text(["sea", "shore", "ship"][expected[30, 45]])


def test_what_is_saved(visit: Any) -> None:
    page = visit("tiny-dense")
    page.set_input_files("#choose", [file()])

    def saved(button: str) -> tuple[str, bytes]:
        with page.expect_download() as waiting:
            page.get_by_role("button", name=button).click()
        return waiting.value.suggested_filename, Path(waiting.value.path()).read_bytes()

    name, labels = saved("Save labels")
    assert name == "ramp-labels.png"
    expected = dense_case.tiny_dense.expected_label(np.array(Image.open(io.BytesIO(picture())))[:, :, None])
    np.testing.assert_array_equal(np.array(Image.open(io.BytesIO(labels))), expected)
    name, text = saved("Save JSON")
    assert name == "ramp.json"
    said = json.loads(text)
    assert (said["model"], said["version"], said["name"]) == ("tiny-dense", 1, "ramp.png")
    assert abs(sum(item["share"] for item in said["shares"]) - 1) < 1e-6
    assert Image.open(io.BytesIO(saved("Save overlay")[1])).format == "JPEG"
    assert [row["name"] for row in json.loads(saved("Save all answers")[1])] == ["ramp.png"]


def test_predicted_values_beside_the_image(visit: Any, shoot: Any) -> None:
    page = visit("tiny-values")
    page.set_input_files("#choose", [file()])
    expect(page.locator("#answer figure img")).to_have_count(2)
    expect(page.locator("#answer table tbody tr")).to_have_count(3)
    expect(page.locator("#answer caption")).to_contain_text("rgb 0..1")
    shoot(page, "values")


@pytest.mark.parametrize("width", [1280, 390])
def test_segments_are_merged_by_a_click_and_saved(visit: Any, shoot: Any, width: int) -> None:
    page = visit("parted", viewport={"width": width, "height": 900})
    stripes = np.repeat(np.array([60, 200, 120], np.uint8), 30)[None].repeat(60, axis=0)
    page.set_input_files("#choose", [file("flag.png", png_bytes(stripes))])
    canvas, rows = page.locator("#answer canvas"), page.locator("#answer .legend li")
    words = page.locator("#merge-words")
    expect(rows).to_have_count(3)

    def click(column: int) -> None:
        box = canvas.bounding_box()
        canvas.click(position={"x": (column + 0.5) / 90 * box["width"], "y": box["height"] / 2})

    click(10)
    click(80)
    expect(words).to_contain_text("do not touch")
    click(40)
    expect(words).to_have_text("Merged.")
    expect(rows).to_have_count(2)
    shoot(page, f"merged-{width}")
    with page.expect_download() as waiting:
        page.click("#save-merged")
    assert waiting.value.suggested_filename == "flag-merged.png"
    saved = np.asarray(Image.open(waiting.value.path()))
    assert saved.dtype == np.uint16
    assert np.array_equal(saved, (stripes != 60).astype(np.uint16))
    page.click("#undo-merges")
    expect(rows).to_have_count(3)
    page.set_input_files("#choose", [file("blank.png", png_bytes(stripes[:, :20]))])
    expect(page.locator("#answer")).to_contain_text("All of it is one segment.")
    expect(page.locator("#history li", has_text="blank.png")).to_contain_text(re.compile("1 segment$"))
    assert page.evaluate("document.documentElement.scrollWidth") == width


def test_several_images_and_a_history(visit: Any, shoot: Any) -> None:
    page = visit()
    files = [file(f"level-{level}.png", png(level)) for level in range(0, 250, 25)]
    page.set_input_files("#choose", [*files, file("notes.txt", b"no image at all", "text/plain")])
    expect(page.locator("#visit-title")).to_have_text("This visit: 10 of 11 answered")
    items = page.locator("#history li")
    expect(items).to_have_count(11)
    items.nth(10).get_by_role("button").click()
    alert = page.locator("#answer [role=alert]")
    expect(alert).to_contain_text("This is no image the server reads")
    expect(alert).to_contain_text("The image is text")
    shoot(page, "no-image")
    page.get_by_role("button", name="Remove").click()
    expect(items).to_have_count(10)
    page.locator("#model").select_option("tiny-dense")
    page.get_by_role("button", name="Ask tiny-dense").click()
    expect(page.locator("#answer canvas")).to_be_visible()
    page.get_by_role("button", name="Clear").click()
    expect(items).to_have_count(0)
    expect(page.locator("#answer")).to_be_hidden()


def test_dropped_and_pasted(visit: Any, shoot: Any) -> None:
    page = visit()
    expect(page.locator("#about h2")).to_have_text("tiny")
    carry = """(levels) => {
      const data = new DataTransfer();
      data.items.add(new File([new Uint8Array(levels)], 'carried.png', {type: 'image/png'}));
      return data;
    }"""
    data = page.evaluate_handle(carry, list(png(90)))
    page.dispatch_event("body", "dragover", {"dataTransfer": data})
    expect(page.locator("#veil")).to_be_visible()
    shoot(page, "dragging")
    page.dispatch_event("body", "drop", {"dataTransfer": data})
    expect(page.locator("#veil")).to_be_hidden()
    expect(page.locator("#visit-title")).to_have_text("This visit: 1 of 1 answered")
    page.evaluate(
        "(data) => document.dispatchEvent(new ClipboardEvent('paste', {clipboardData: data, bubbles: true}))", data
    )
    expect(page.locator("#visit-title")).to_have_text("This visit: 2 of 2 answered")


def test_keyboard_only(visit: Any) -> None:
    page = visit("tiny-dense")
    expect(page.locator("#about h2")).to_have_text("tiny-dense")

    def focused() -> str:
        return str(page.evaluate("() => document.activeElement.id || document.activeElement.innerText"))

    def tab_to(wanted: str) -> None:
        for _ in range(30):
            page.keyboard.press("Tab")
            if wanted in focused():
                outline = page.evaluate(
                    "() => [document.activeElement, ...document.activeElement.parentElement.children]"
                    ".map((e) => getComputedStyle(e).outlineStyle)"
                )
                assert "solid" in outline, f"focus on {wanted} cannot be seen"
                return
        raise AssertionError(f"{wanted} is not reached by Tab")

    with page.expect_file_chooser() as chooser:  # asked for before the Tabs: the browser listens by the time of Enter
        tab_to("choose")
        page.keyboard.press("Enter")
    chooser.value.set_files([file(), file("second.png", picture(size=(40, 40)))])
    expect(page.locator("#answer canvas")).to_be_visible()
    tab_to("opacity")
    page.keyboard.press("Home")
    expect(page.locator(".slider output")).to_have_text("0 %")
    tab_to("shore")
    page.keyboard.press("Enter")
    expect(page.locator(".legend button", has_text="shore")).to_have_attribute("aria-pressed", "true")
    page.locator("#history button").first.focus()
    page.keyboard.press("ArrowRight")
    expect(page.locator("#answer-title")).to_have_text("second.png")
    assert "second.png" in focused()


def test_files_chosen_before_the_server_said_what_it_takes(visit: Any) -> None:
    held: list[Any] = []
    page = visit(before=lambda page: page.route("**/api/models", lambda route: held.append(route)))
    page.set_input_files("#choose", [file("level.png", png(90))])
    expect(page.locator("#visit")).to_be_hidden()
    held[0].continue_()
    expect(page.locator("#visit-title")).to_have_text("This visit: 1 of 1 answered")


def test_a_phone_in_the_dark(visit: Any, shoot: Any) -> None:
    page = visit(
        "tiny-dense",
        viewport={"width": 390, "height": 844},
        device_scale_factor=2,
        has_touch=True,
        is_mobile=True,
        color_scheme="dark",
    )
    page.set_input_files("#choose", [file(), file("tall.png", picture(size=(120, 50)))])
    expect(page.locator("#answer canvas")).to_be_visible()
    page.locator("#history button").nth(1).tap()
    expect(page.locator("#answer-title")).to_have_text("tall.png")
    expect(page.locator("#answer canvas")).to_be_visible()
    assert page.evaluate("() => document.documentElement.scrollWidth") <= 390
    small = page.evaluate(
        "() => [...document.querySelectorAll('button, .choose-button, select')].filter((e) => e.checkVisibility())"
        ".map((e) => e.getBoundingClientRect()).filter((box) => box.height < 32 || box.width < 24).length"
    )
    assert small == 0, "too small for a finger"
    shoot(page, "phone-dark")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_all_text_can_be_read(visit: Any, scheme: str) -> None:
    page = visit("tiny-dense", color_scheme=scheme)
    page.set_input_files("#choose", [file(), file("notes.txt", b"no image", "text/plain")])
    expect(page.locator("#answer canvas")).to_be_visible()
    expect(page.locator("#history li[data-status=failed]")).to_have_count(1)
    texts = page.evaluate(CONTRAST)
    page.locator("#history button").nth(1).click()
    texts += page.evaluate(CONTRAST)
    assert len(texts) > 40
    assert [item for item in texts if item[0] < 4.5] == []


def test_files_a_browser_cannot_show(visit: Any) -> None:
    page = visit("tiny-dense")
    page.set_input_files("#choose", [file("scene.tif", picture("TIFF"), "image/tiff")])
    expect(page.locator("#answer canvas")).to_be_visible()
    size = page.locator("#answer .stack img").evaluate("(image) => [image.naturalHeight, image.naturalWidth]")
    assert size == [60, 90]


def test_a_busy_server_is_asked_again(visit: Any, shoot: Any) -> None:
    page = visit()
    busy = [True]

    def answer(route: Any) -> None:
        if busy and busy.pop():
            body = json.dumps({"error": "the queue is full", "request_id": "1"})
            route.fulfill(status=429, headers={"retry-after": "5"}, content_type="application/json", body=body)
        else:
            route.continue_()

    page.route("**/predict/**", answer)
    page.set_input_files("#choose", [file("level.png", png(90))])
    expect(page.locator("#answer .waiting")).to_have_text(re.compile(r"The server is busy; trying again in [1-5] s"))
    shoot(page, "busy")
    expect(page.locator("#answer .verdict")).to_be_visible()


def test_too_large_for_the_server(visit: Any, checkout: Settings, shoot: Any) -> None:
    small = Server(checkout, "--max-body-mib", "1", "--max-pixels", "100000")
    try:
        page = visit(url=small.url)
        expect(page.locator("#limits")).to_contain_text("up to 1 MB and 100,000 pixels")
        page.set_input_files("#choose", [file("large.png", bytes(2**20 + 1))])
        expect(page.locator("#answer [role=alert]")).to_contain_text("The file is too large")
        page.set_input_files("#choose", [file("wide.png", picture(size=(400, 400)))])
        expect(page.locator("#answer [role=alert]")).to_contain_text("The image is too large")
        shoot(page, "too-large")
    finally:
        small.stop()


def test_a_server_that_goes_and_comes_back(visit: Any, checkout: Settings, shoot: Any) -> None:
    own = Server(checkout)
    try:
        page = visit(url=own.url)
        expect(page.locator("#about h2")).to_have_text("tiny")
        own.stop()
        page.set_input_files("#choose", [file("level.png", png(90))])
        expect(page.locator("#gone")).to_contain_text("The server does not answer")
        shoot(page, "gone")
        own.start()
        expect(page.locator("#answer .verdict")).to_be_visible()
        expect(page.locator("#gone")).to_be_hidden()
    finally:
        own.stop()


def test_a_key_is_asked_for_and_kept_in_the_tab(visit: Any, checkout: Settings, shoot: Any) -> None:
    locked = Server(checkout, DRILLCORE_API_KEYS=KEY)
    try:
        page = visit(url=locked.url)
        expect(page.locator("#key-form")).to_be_visible()
        expect(page.locator("#drop")).to_be_hidden()
        page.keyboard.type("not-the-key-of-it-0123")
        page.keyboard.press("Enter")
        expect(page.locator("#key-error")).to_contain_text("does not open")
        shoot(page, "key")
        page.locator("#key").fill(KEY)
        page.keyboard.press("Enter")
        expect(page.locator("#about h2")).to_have_text("tiny")
        page.reload()
        page.set_input_files("#choose", [file("level.png", png(90))])
        expect(page.locator("#answer .verdict")).to_be_visible()
        assert page.evaluate("() => JSON.stringify(localStorage)").find(KEY) == -1
        page.get_by_role("button", name="Forget the key").click()
        expect(page.locator("#key-form")).to_be_visible()
    finally:
        locked.stop()


def test_a_model_that_is_not_sure_says_so(visit: Any, checkout: Settings, shoot: Any) -> None:
    serve_tiny(checkout, 5, abstain={**UNSURE, "threshold": 0.999})
    own = Server(checkout)
    try:
        page = visit(url=own.url)
        expect(page.locator(".facts")).to_contain_text("below 99.9 %, so that 90.0 % of its answers are right")
        page.set_input_files("#choose", [file("level.png", png(200))])
        expect(page.locator(".verdict strong")).to_have_text("not sure")
        expect(page.locator(".verdict")).to_contain_text("dark at best: ")
        expect(page.locator(".bars li.best")).to_have_count(0)
        expect(page.locator("#live")).to_contain_text("level.png: not sure: dark at best, ")
        shoot(page, "not-sure")
    finally:
        own.stop()
        serve_tiny(checkout, 3)


def test_another_version_is_noticed(visit: Any, checkout: Settings) -> None:
    own = Server(checkout)
    try:
        page = visit(url=own.url)
        page.set_input_files("#choose", [file("level.png", png(90))])
        expect(page.locator(".who")).to_contain_text("version 3")
        serve_tiny(checkout, 4, seeds={"train": 9})
        for _ in range(50):
            page.set_input_files("#choose", [file("again.png", png(90))])
            page.wait_for_timeout(100)
            if "version 4" in page.locator("#notice").inner_text():
                break
        expect(page.locator(".facts")).to_contain_text("4 · ")
    finally:
        own.stop()
        serve_tiny(checkout, 3)
