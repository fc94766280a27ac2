"""`drillcore data forget` where images have masks: another image's stays, what cannot be done is refused first."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image

from drillcore.cli.forget import forget
from drillcore.datasets.ingest import check_dataset, current_manifest, ingest
from drillcore.datasets.keeping import remove_dataset
from drillcore.datasets.landing import import_dataset
from drillcore.digests import sha256_file
from drillcore.errors import DataError
from drillcore.settings import Settings
from drillcore.upkeep import forgetting, forgetting_records
from drillcore.upkeep.forgetting import plan_forgetting

SIDE = 24


def write_boats(root: Path, count: int = 12) -> Path:
    """Pictures with a boat, and its mask, each of another size."""
    for name in ("images", "masks"):
        (root / name).mkdir(parents=True)
    for number in range(count):
        write_boat(root / "images" / f"{number}.png", root / "masks" / f"{number}.png", number)
    (root / "classes.txt").write_text("background 0 0 0\nship 255 255 255\n")
    return root


def write_boat(image: Path, mask: Path, number: int) -> None:
    labels = np.zeros((SIDE, SIDE), np.uint8)
    labels[number % 12 : number % 12 + 9, 6:17] = 1
    pixels = np.random.default_rng(number).integers(0, 80, labels.shape) + 120 * labels
    Image.fromarray(pixels.astype(np.uint8)).save(image)
    Image.fromarray(labels * 255).save(mask)


@pytest.fixture
def boats(tracked: Settings, tmp_path: Path) -> Settings:
    import_dataset(tracked, "boats", write_boats(tmp_path / "source"), layout="masks")
    ingest(tracked, "boats")
    return tracked


@pytest.fixture
def run(boats: Settings, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr("drillcore.cli.forget.begin", lambda **_: boats)

    def call(*arguments: object) -> Result:
        return CliRunner().invoke(forget, [str(argument) for argument in arguments])

    return call


def copies(settings: Settings, digest: str) -> list[Path]:
    return [path for path in settings.root.rglob("*") if path.is_file() and sha256_file(path) == digest]


def test_the_annotation_of_another_image_stays(boats: Settings, run: Any) -> None:
    images, masks = (boats.landing / "boats" / name for name in ("images", "masks"))
    gone = [sha256_file(images / f"{number}.png") for number in (3, 4, 5)]
    mask_of = {number: sha256_file(masks / f"{number}.png") for number in (3, 4, 5)}
    # 3: another image of the same name and mask; 4: another image and mask; 5: the image of today.
    (images / "3.png").unlink()
    Image.fromarray(np.random.default_rng(77).integers(0, 200, (SIDE, SIDE)).astype(np.uint8)).save(images / "3.bmp")
    (images / "4.png").unlink()
    write_boat(images / "4.bmp", masks / "4.png", 30)
    assert check_dataset(boats, "boats", accept_change=True).report.ok
    assert sha256_file(masks / "3.png") == mask_of[3]
    new = sha256_file(masks / "4.png")
    assert new != mask_of[4]

    done = run(*gone, "--yes")
    assert done.exit_code == 0, (done.output, done.exception)
    for digest in (*gone, mask_of[4], mask_of[5]):
        assert copies(boats, digest) == []
    for digest in (mask_of[3], new):
        assert len(copies(boats, digest)) >= 4  # landing zone, data/, cache, remote
    kept = {f"images/{number}.png" for number in (0, 1, 2, *range(6, 12))}
    assert set(current_manifest(boats, "boats").table["path"]) == {"images/3.bmp", "images/4.bmp", *kept}


def test_what_cannot_be_done_is_refused_before_anything_is_removed(boats: Settings, run: Any, tmp_path: Path) -> None:
    table = current_manifest(boats, "boats").table
    digest = table["sha256"].iloc[0]
    image = boats.landing / "boats" / table["path"].iloc[0]

    def refused(text: str, *digests: str) -> None:
        found = run(*(digests or [digest]), "--yes")
        assert isinstance(found.exception, DataError), (found.output, found.exception)
        assert text in str(found.exception)
        assert len(copies(boats, digest)) >= 4
        assert forgetting_records.unfinished(boats) == set()

    remote = boats.state / "dvc" / "remote"
    remote.rename(tmp_path / "unmounted")
    remote.mkdir()  # the empty folder that is mounted on
    found = run(digest, "--yes")
    assert isinstance(found.exception, DataError)
    assert "the DVC remote is not there" in str(found.exception)
    remote.rmdir()
    (tmp_path / "unmounted").rename(remote)

    refused("is refused", *table["sha256"])
    held = boats.state / "loaded" / "boats" / "0123" / "data"
    held.mkdir(parents=True)
    shutil.copyfile(image, held / "a.png")
    refused("a copy that load_folder made")
    shutil.rmtree(boats.state / "loaded")

    shutil.copyfile(image, boats.landing / "boats" / "unlisted.dat")
    refused("drillcore data check boats")
    assert check_dataset(boats, "boats").report.ok
    with_copy = run(digest, "--yes")  # its name is not an image's: no list names it
    assert isinstance(with_copy.exception, DataError)
    assert "boats/unlisted.dat" in str(with_copy.exception)


def test_a_data_set_that_is_refused_after_all_leaves_the_record_open(
    boats: Settings, run: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = current_manifest(boats, "boats").rows("val")
    digests = list(rows["sha256"])
    with monkeypatch.context() as patched:
        patched.setattr(forgetting, "refuse_unfit", lambda *_: None)
        found = run(*digests, "--yes")
    assert isinstance(found.exception, DataError), (found.output, found.exception)
    assert "not done yet" in str(found.exception)
    assert "data remove boats" in str(found.exception)
    assert forgetting_records.unfinished(boats) == set(digests)
    remove_dataset(boats, "boats")
    assert run(digests[0], "--yes").exit_code == 0
    assert forgetting_records.unfinished(boats) == set()
    assert [path for digest in digests for path in copies(boats, digest)] == []


def test_odd_things_stop_nothing(boats: Settings, run: Any, tmp_path: Path) -> None:
    rows = current_manifest(boats, "boats").rows("train")
    digest, image = rows["sha256"].iloc[0], boats.landing / "boats" / rows["path"].iloc[0]
    inbox = boats.state / "inbox" / "boats"
    inbox.mkdir(parents=True)
    odd = Path(os.fsdecode(os.fsencode(inbox) + b"/\xff.png"))
    shutil.copyfile(image, odd)
    (inbox / "broken.png").symlink_to(tmp_path / "nothing.png")
    (tmp_path / "pages").mkdir()
    (boats.state / "reports").symlink_to(tmp_path / "pages")
    found = run(digest, "--yes", "--json")
    assert found.exit_code == 0, (found.output, found.exception)
    assert not odd.exists()
    assert "broken.png, which cannot be opened" in found.output
    assert not (boats.state / "reports").is_symlink()
    assert (tmp_path / "pages").is_dir()


def test_objects_that_cannot_be_brought_are_told(boats: Settings) -> None:
    table = current_manifest(boats, "boats").table
    digest = table["sha256"].iloc[0]
    for path in (boats.state / "dvc" / "cache").rglob("*"):
        if path.is_file() and sha256_file(path) == digest:
            path.unlink()
    [held] = [path for path in copies(boats, digest) if boats.state / "dvc" / "remote" in path.parents]
    held.chmod(0o644)
    held.write_bytes(b"damaged")
    with pytest.raises(DataError, match="could not be brought"):
        plan_forgetting(boats, {digest})


def test_outputs_of_a_later_call_join_the_record(tracked: Settings) -> None:
    for name in ("a", "b", "a"):
        path = forgetting_records.begin_record(tracked, ["0" * 64], {"digests": ["0" * 64]}, [{"output": name}], {})
    assert [one["output"] for one in forgetting_records.begun(tracked)[0]["outputs"]] == ["a", "b"]
    assert path.name.endswith("-1.json")
