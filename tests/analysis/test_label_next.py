"""`drillcore label-next`: unsure images, none of them known, none twice; and the way back from what was labelled."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from shells import write_shells

from drillcore.analysis.labelling.choosing import choose, unsureness
from drillcore.analysis.labelling.label_next import label_next
from drillcore.cli.label_next import label_next as command
from drillcore.datasets.ingest import current_manifest
from drillcore.datasets.landing import import_dataset
from drillcore.errors import InputError, LayoutError
from drillcore.pages.images_to_label import write_label_next
from drillcore.settings import Settings


def test_the_choice_by_hand() -> None:
    probabilities = np.array([[0.5, 0.5, 0.0], [0.9, 0.1, 0.0], [0.6, 0.3, 0.1]])
    np.testing.assert_allclose(unsureness(probabilities), [1.0, 0.2, 0.7])
    # Four directions; the labelled one is the first. The twin of a chosen image is not asked for next.
    rows = np.array([[1, 0.1], [0, 1], [0, 2], [-1, 0]], float)
    chosen, wanted = choose(rows, np.array([1.0, 0.9, 0.9, 0.5]), 4, labelled=np.array([[1.0, 0.0]]))
    assert chosen.tolist() == [1, 3, 0, 2]  # 0.9 x 1.41, then 0.5 x 1.41 before 1 x 0.1
    np.testing.assert_allclose(wanted[:2], [0.9 * 2**0.5, 0.5 * 2**0.5], atol=1e-6)
    assert wanted[-1] == pytest.approx(0.0, abs=1e-3)
    everything, _ = choose(rows, np.ones(4), 9)
    assert sorted(everything.tolist()) == [0, 1, 2, 3]


def test_images_are_chosen_and_come_back_labelled(retrained: tuple[Settings, Any], tmp_path: Path) -> None:
    settings, _ = retrained
    manifest = current_manifest(settings, "shells")
    folder = write_shells(tmp_path / "new", 3, first=300)
    known = manifest.path_of(manifest.table["path"].iloc[0])
    (folder / known.name).write_bytes(known.read_bytes())
    copy = next(path for path in sorted(folder.rglob("*.png")) if path.parent != folder)
    (folder / "copy.png").write_bytes(copy.read_bytes())
    (folder / "broken.png").write_bytes(b"\x89PNG")
    found = label_next(settings, "shells-forest", folder, 4)
    assert len(found.chosen) == 4
    reasons = dict(found.left_out)
    assert reasons[known.name] == "labelled already"
    assert "a copy of another image" in reasons.values()
    assert "broken.png" in reasons
    assert len({one.sha256 for one in found.chosen} & set(manifest.table["sha256"])) == 0
    assert found.extracted == found.images
    again = label_next(settings, "shells-forest", folder, 4)
    assert again.extracted == 0  # from the store
    assert again.chosen == found.chosen
    made = write_label_next(settings, found, folder / "asked")
    assert {path.name for path in made} == {"index.html", "label-next.csv", "label-studio.json", "label-studio.xml"}
    assert (folder / "asked" / "index.html").read_text().count("<img") == 4
    # A person fills in the table, whose paths are below the folder of the images.
    with (folder / "asked" / "label-next.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    with (folder / "answers.csv").open("w") as stream:
        writer = csv.DictWriter(stream, rows[0])
        writer.writeheader()
        writer.writerows(row | {"label": manifest.classes[0]} for row in rows)
    before = len(manifest.table)
    result = import_dataset(settings, "shells", folder / "answers.csv", layout="csv", append=True, dry_run=True)
    assert (result.images, result.taken) == (4, {manifest.classes[0]: 4})
    # The same by Label Studio's export: the tasks with an annotation each.
    tasks = json.loads((folder / "asked" / "label-studio.json").read_text())
    for number, task in enumerate(tasks):
        predicted = task["predictions"][0]["result"]
        task["annotations"] = [{"result": predicted, "was_cancelled": number == 0}]
    (folder / "export.json").write_text(json.dumps(tasks))
    loose = Settings.load(settings.root, env={"DRILLCORE_QUARANTINE_LIMIT": "0.5"})
    result = import_dataset(loose, "shells", folder / "export.json", layout="label-studio", append=True)
    assert (result.images, result.added, result.left_out) == (before + 3, 3, {"no_label": 1})


def test_what_cannot_be_asked(retrained: tuple[Settings, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings, _ = retrained
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=r"no image in .* could be asked for"):
        label_next(settings, "shells-forest", tmp_path / "empty", 3)
    monkeypatch.setattr("drillcore.cli.label_next.begin", lambda **_: settings)
    done = CliRunner().invoke(command, ["shells-forest", str(tmp_path / "nowhere")])
    assert isinstance(done.exception, InputError)
    (tmp_path / "x.json").write_text('{"images": []}')
    with pytest.raises(LayoutError, match="no list of tasks"):
        import_dataset(settings, "mine", tmp_path / "x.json", layout="label-studio")


@pytest.mark.parametrize(
    ("image", "name"),
    [
        ("/data/local-files/?d=a/b.png", "a/b.png"),
        ("/data/upload/3/0123abcd-b.png", "b.png"),
        ("s3://bucket/some/b.png", "b.png"),
        ("http://host/x%20y.png", "x y.png"),
    ],
)
def test_images_of_label_studio_are_found_by_their_addresses(
    settings: Settings, tmp_path: Path, image: str, name: str
) -> None:
    (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
    one = next(write_shells(tmp_path / "source", 1).rglob("*.png"))
    (tmp_path / name).write_bytes(one.read_bytes())
    result = [{"type": "choices", "value": {"choices": ["cat"]}}]
    (tmp_path / "export.json").write_text(json.dumps([{"data": {"image": image}, "annotations": [{"result": result}]}]))
    found = import_dataset(settings, "mine", tmp_path / "export.json", layout="label-studio")
    assert found.taken == {"cat": 1}
