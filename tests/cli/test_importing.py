"""`data import` says at once, in words and by its exit code, whether a retrain would take what was imported."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from shells import write_shells

from drillcore.datasets.ingest import check_dataset
from drillcore.datasets.keeping import list_datasets
from drillcore.settings import Settings


def test_an_import_says_whether_a_retrain_would_take_it(
    drillcore: Callable[..., Any], settings: Settings, tmp_path: Path
) -> None:
    few = write_shells(tmp_path / "few", 1)
    refused = drillcore("data", "import", "--layout", "classes", "shells", few)
    assert refused.code == 3
    assert "imported, but a retrain would refuse it: val has images: 0; test has images: 0; mend" in refused.out
    assert "or take it out: drillcore data remove shells" in refused.out
    assert "undo" not in refused.out, "there is no version to go back to"
    assert "last good version" not in refused.out
    assert "warning: at least 3 images a class: 3 of 3 do not (bar 1, dot 1, ring 1)" in refused.out
    assert len([*(settings.landing / "shells").rglob("*.png")]) == 3, "it stays imported"
    assert [(one.state, one.reason) for one in list_datasets(settings)] == [
        ("refused", "val has images: 0; test has images: 0")
    ]
    (tmp_path / "broken" / "bar").mkdir(parents=True)
    for number in range(2):
        (tmp_path / "broken" / "bar" / f"{number}.png").write_bytes(b"no image")
    done = drillcore("data", "import", "--layout", "classes", "broken", tmp_path / "broken", "--json")
    assert (done.code, json.loads(done.out)["check"]["summary"]) == (3, "")
    assert "all 2 images of data set broken were set aside" in json.loads(done.out)["check"]["reason"]
    assert drillcore("data", "remove", "broken").code == 0
    checked = drillcore("data", "check", "shells")
    assert (checked.code, "drillcore data remove shells" in checked.err) == (1, True), checked.err
    more = write_shells(tmp_path / "more", 9, first=10)
    taken = drillcore("data", "import", "--append", "shells", more)
    assert taken.code == 0, taken.err
    assert "30 images of 3 classes" in taken.out
    assert "a retrain would take it; next: drillcore new MODEL --dataset shells" in taken.out
    assert check_dataset(settings, "shells").ok
    other = drillcore("data", "import", "--append", "shells", write_shells(tmp_path / "again", 9, first=10), "--json")
    assert (other.code, json.loads(other.out)["added"], json.loads(other.out)["check"]["takes"]) == (0, 0, True)
    looked = drillcore("data", "import", "--append", "shells", few, "--dry-run", "--json")
    assert (looked.code, json.loads(looked.out)["check"]) == (0, None)
    assert drillcore("data", "import", "--append", "shells", tmp_path / "nowhere").code == 2


def test_a_change_that_a_retrain_would_refuse_is_told_by_the_import(
    drillcore: Callable[..., Any], settings: Settings, tmp_path: Path
) -> None:
    assert drillcore("data", "import", "--layout", "classes", "shells", write_shells(tmp_path / "a", 8)).code == 0
    assert check_dataset(settings, "shells").ok
    more = write_shells(tmp_path / "more", 40, first=10)
    for path in [*(more / "dot").iterdir(), *(more / "ring").iterdir()]:
        path.unlink()
    done = drillcore("data", "import", "--append", "shells", more)
    assert done.code == 3
    assert "class shares moved at most 0.25 since the last version: 0." in done.out
    assert "where the change is meant: drillcore data check shells --accept-change" in done.out
    assert "the last good version stays" in done.out
    assert "take the import back: drillcore data undo shells" in done.out
    assert drillcore("data", "undo", "shells").code == 0
    assert drillcore("data", "import", "--append", "shells", more).code == 3
    assert check_dataset(settings, "shells", accept_change=True).ok
    (settings.data / "shells" / "mine.png").write_bytes(b"mine")
    done = drillcore("data", "import", "--append", "shells", more)
    assert (done.code, "were edited by hand" in done.out) == (3, True)


def test_the_verdict_imports_nothing_that_takes_seconds(settings: Settings, tmp_path: Path) -> None:
    write_shells(tmp_path / "shells", 4)
    code = """
import sys
from drillcore.cli.root import cli
cli.main(["data", "import", "--layout", "classes", "shells", sys.argv[1]], standalone_mode=False)
heavy = ("torch", "great_expectations", "dvc", "mlflow", "prefect", "sklearn", "onnxruntime")
print([name for name in heavy if name in sys.modules])
"""
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "shells")],
        env={"DRILLCORE_ROOT": str(settings.root), "PATH": ""},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.splitlines()[-1] == "[]"


def test_an_emptied_landing_zone_is_filled_by_the_command_that_is_named(
    drillcore: Callable[..., Any], settings: Settings, tmp_path: Path
) -> None:
    source = write_shells(tmp_path / "a", 8)
    assert "data import --layout classes shells SOURCE`, then" in drillcore("data", "show", "shells").err
    assert drillcore("data", "import", "--layout", "classes", "shells", source).code == 0
    unchecked = drillcore("data", "show", "shells").err
    assert "yet; run `drillcore data check shells`" in unchecked
    assert drillcore("data", "check", "shells").code == 0
    for path in (settings.landing / "shells").rglob("*.*"):
        path.unlink()
    emptied = drillcore("data", "check", "shells").err
    assert "data undo shells, or start a new lineage: drillcore data import shells SOURCE" in emptied
    assert drillcore("data", "import", "shells", source).code == 0
