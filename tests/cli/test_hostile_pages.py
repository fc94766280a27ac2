"""What strangers name and write is shown as text, at the width of a telephone, without a network."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from harmless import check_harmless
from shells import RECIPE, draw_shell

from drillcore.datasets.landing import import_dataset
from drillcore.retrain.retraining import Retrain
from drillcore.settings import Settings

HOSTILE = "<img src=x onerror=document.title=1>&'"
LONG = "unbroken" * 14
CARD = f"""# Shells

<script>alert(1)</script> {HOSTILE} [here](javascript:alert(1)) `{LONG}`

| {LONG} | b |
|---|---|
| 1 | 2 |
"""
WIDTH = 390
WIDER = """[document.documentElement.scrollWidth,
  [...document.images].filter(image => !image.complete || !image.naturalWidth).length]"""


def retrain(settings: Settings) -> None:
    """Two versions of a model whose images, a class and the card somebody hostile named."""
    source = settings.root.parent / "source"
    for kind, shown in (("bar", "bar"), ("dot", LONG), ("ring", "ring&'")):
        (source / shown).mkdir(parents=True)
        for number in range(16):
            name = f"{number}{HOSTILE if number % 2 else LONG}.png"
            # A quarter of the bars are dots: there is something to suspect.
            wrong = kind == "bar" and number % 4 == 0
            draw_shell("dot" if wrong else kind, number + 50 * wrong).save(source / shown / name)
    import_dataset(settings, "shells", source, layout="classes")
    (settings.models / "shells-forest.md").write_text(CARD)
    for trees in (10, 11):
        (settings.models / "shells-forest.yaml").write_text(RECIPE.replace("estimators: 10", f"estimators: {trees}"))
        with Retrain(settings, "shells-forest") as work:
            work.run_all()


def test_pages_are_harmless_narrow_and_whole(tracked: Settings, drillcore: Callable[..., Any], tmp_path: Path) -> None:
    retrain(tracked)
    made = {"report": tmp_path / "report.html"}
    assert drillcore("report", "shells-forest@2", "--output", made["report"]).code == 0
    for name, arguments in (
        ("compare", ("compare", "shells-forest@1", "shells-forest@2")),
        ("suspects", ("data", "suspects", "shells-forest@2")),
    ):
        assert drillcore(*arguments, "--output", tmp_path / name).code == 0
        made[name] = tmp_path / name / "index.html"
    for page in made.values():
        check_harmless(page.read_text())
    assert "&lt;img src=x onerror" in made["report"].read_text()
    docs = sorted((tracked.state / "data-docs" / "shells").rglob("*.html"))
    assert len(docs) > 3
    for page in docs:
        assert "<script" not in page.read_text()
    check_width({**made, **{str(page): page for page in docs}})


def check_width(pages: dict[str, Path]) -> None:
    """No page asks for anything from elsewhere, is wider than a telephone, or shows a picture late."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright drives the browser")
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("no chromium; apt-get install chromium brings it")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        for name, path in pages.items():
            page = browser.new_page(viewport={"width": WIDTH, "height": 800}, offline=True)
            asked: list[str] = []
            page.on("request", lambda request, asked=asked: asked.append(request.url))
            page.goto(path.as_uri())
            width, late = page.evaluate(WIDER)
            assert (width, late) == (WIDTH, 0), name
            assert [url for url in asked if not url.startswith(("file:", "data:"))] == [], name
            assert page.title() != "1"
            page.close()
        browser.close()
