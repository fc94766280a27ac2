"""`drillcore similar`: the nearest by features and by codes, what was looked at once is kept, and what is refused."""

from __future__ import annotations

import json
import re
import shlex
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image
from segment_case import write_segment_model
from shells import write_shells

from drillcore.analysis.code_tables import CodeTables, image_code
from drillcore.analysis.nearest import CodeSearch, nearest_by_cosine, padded
from drillcore.analysis.searching import find_similar
from drillcore.cli.root import cli
from drillcore.cli.similar import BoxType
from drillcore.datasets.ingest import current_manifest
from drillcore.errors import InputError, ReceiptError
from drillcore.pages.similar import write_similar
from drillcore.runtime.model.exported_file import read_exported
from drillcore.runtime.model.served import resolve
from drillcore.settings import Settings
from drillcore.store import FeatureSpec, FeatureStore, StoreWriter
from drillcore_serving.batch.score_batch import score


def test_codes_are_found_as_by_comparing_all(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    spec = FeatureSpec(weights="m", taps=("segments",), preprocessing={}, dtype="uint8")
    store, images = FeatureStore(tmp_path, spec), [f"{number:064x}" for number in range(60)]
    counts = rng.integers(1, 6, len(images))
    codes = padded(rng.integers(0, 256, (int(counts.sum()), 5)).astype(np.uint8))
    assert codes.shape[1] == 8
    ends = np.cumsum(counts)
    for first in range(0, 60, 20):  # an image is added by writing its rows: three writers, three shards to merge
        with StoreWriter(store) as writer:
            writer.add(
                spec.keys(images[first : first + 20]),
                codes[ends[first] - counts[first] : ends[first + 19]],
                counts[first : first + 20],
            )
    owner = np.repeat(np.arange(60), counts)
    query = codes[7] ^ np.uint8(3)
    for chosen in (range(60), range(59, -1, -2)):  # all that is stored, and some of it in another order
        keys = spec.keys([images[number] for number in chosen])
        search = CodeSearch(store, keys)
        owners, rows, distances = search.nearest(query, 10)
        apart = np.unpackbits(codes ^ query, axis=1).sum(axis=1)[np.isin(owner, list(chosen))]
        assert len(search) == len(apart)
        assert distances.tolist() == np.sort(apart)[:10].tolist()
        for place, row, distance in zip(owners.tolist(), rows.tolist(), distances.tolist(), strict=True):
            found = codes[np.flatnonzero(owner == chosen[place])[row]]
            assert np.unpackbits(found ^ query).sum() == distance
    assert len(search.nearest(query, 10_000)[0]) == len(search)
    with pytest.raises(InputError, match="a code of 8 bytes is expected, 16 came"):
        search.nearest(np.zeros(16, np.uint8), 1)


def test_cosine_by_hand() -> None:
    rows = np.array([[0, 2], [3, 0], [-1, 0], [0, 0], [1, 1]], np.float16)
    places, distances = nearest_by_cosine(rows, np.array([5, 0], np.float32), 4)
    assert places.tolist() == [1, 4, 0, 3]
    np.testing.assert_allclose(distances, [0, 1 - 0.5**0.5, 1, 1], atol=1e-6)


def test_an_image_s_code_has_the_bits_of_most_of_its_area() -> None:
    codes = np.array([[0b11000000], [0b10100000]], np.uint8)
    assert image_code(codes, np.array([3, 2])).tolist() == [0b11000000]
    assert image_code(codes, np.array([2, 2])).tolist() == [0b10000000]  # a tie is 0


def test_images_by_the_features_of_a_classifier(retrained: tuple[Settings, Any], tmp_path: Path) -> None:
    settings, _ = retrained
    served, manifest = resolve(settings, "shells-forest"), current_manifest(settings, "shells")
    asked = manifest.path_of(manifest.rows("train")["path"].iloc[0])
    found = find_similar(settings, served, asked, count=5)
    assert found.measure == "cosine"
    assert found.rows == len(manifest.table)
    assert found.hits[0].image.file.samefile(asked)
    assert found.hits[0].distance == pytest.approx(0, abs=1e-4)
    assert [hit.distance for hit in found.hits] == sorted(hit.distance for hit in found.hits)
    # A folder of its own, one image of it broken; looked at once.
    folder = write_shells(tmp_path / "new", 2, first=300)
    (folder / "broken.png").write_bytes(b"\x89PNG")
    first = find_similar(settings, served, asked, folder=folder, count=3)
    assert (first.added, first.rows, first.left_out[0][0]) == (6, 6, "broken.png")
    again = find_similar(settings, served, asked, folder=folder, box=(2, 2, 20, 20))
    assert (again.added, len(again.hits)) == (0, 6)
    # What was scored; a picture that is gone is said on the page.
    score(settings, served, folder, tmp_path / "out")
    scored = find_similar(settings, served, asked, folder=tmp_path / "out", below=folder, count=3)
    assert [hit.image.sha256 for hit in scored.hits] == [hit.image.sha256 for hit in first.hits]
    first.hits[0].image.file.unlink()
    made = write_similar(settings, first, tmp_path / "page")
    assert {path.name for path in made} == {"index.html", "similar.csv"}
    page = (tmp_path / "page" / "index.html").read_text()
    assert page.count("<img") == 3
    assert "cannot be shown" in page


@pytest.mark.slow
def test_the_how_to_runs(retrained: tuple[Settings, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings, _ = retrained
    for number, path in enumerate(sorted(write_shells(tmp_path / "drawn", 2, first=300).rglob("*.png"))):
        target = tmp_path / "home" / "new-images" / f"{number}.png"
        target.parent.mkdir(parents=True, exist_ok=True)
        path.rename(target)
    page = (Path(__file__).resolve().parents[2] / "docs" / "how-to" / "similar.md").read_text(encoding="utf-8")
    lines = re.search(r"```bash\n(.*?)```", page, re.DOTALL)[1].splitlines()  # type: ignore[index]
    assert len(lines) == 5
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("drillcore.cli.similar.begin", lambda **_: settings)
    monkeypatch.setattr("drillcore.cli.score.begin", lambda **_: settings)
    for line in lines:
        text = line.partition("#")[0].replace("~", str(tmp_path / "home")).replace("shells-lite", "shells-forest")
        ended = CliRunner().invoke(cli, shlex.split(text)[1:])
        assert ended.exit_code == 0, (line, ended.output, ended.exception)
    found = json.loads(ended.stdout)
    assert found["images"] == len(found["hits"]) == 6
    assert (settings.state / "similar" / "shells-forest" / "index.html").read_text().count("<img") == 7


@pytest.fixture
def photographs(tmp_path: Path) -> Path:
    """Six images of two colours each; the code of `write_segment_model` follows the colours."""
    (tmp_path / "photographs").mkdir()
    for number in range(6):
        pixels = np.full((24, 40, 3), 20 + 30 * number, np.uint8)
        pixels[:, 20:] = 235 - 20 * number
        Image.fromarray(pixels).save(tmp_path / "photographs" / f"{number}.png")
    return tmp_path / "photographs"


@pytest.fixture
def limits(tmp_path: Path) -> Settings:
    return Settings.load(tmp_path / "project", env={"DRILLCORE_THREADS": "1", "DRILLCORE_DEVICE": "cpu"})


def test_segments_like_a_part_of_an_image(photographs: Path, tmp_path: Path, limits: Settings) -> None:
    served = read_exported(write_segment_model(tmp_path / "parted.onnx"), limits)
    asked = photographs / "2.png"
    score(limits, served, photographs, tmp_path / "out")
    scored = find_similar(limits, served, asked, folder=tmp_path / "out", box=(22, 2, 38, 20), count=4)
    assert (scored.measure, scored.added, scored.rows) == ("hamming", 6, 12)
    best = scored.hits[0]
    assert (best.image.path, best.distance, best.segment) == ("2.png", 0, 1)
    assert (best.area, best.box) == (20 * 24, (20, 0, 40, 24))
    # The same by looking at the images themselves, and nothing is looked at twice.
    found = find_similar(limits, served, asked, folder=photographs, box=(22, 2, 38, 20), count=4)
    assert found.added == 0
    assert [hit.to_dict(0) for hit in found.hits] == [hit.to_dict(0) for hit in scored.hits]
    # An image more is one look more, and is found.
    shutil.copyfile(asked, photographs / "copy.png")
    Image.fromarray(np.full((24, 40, 3), 77, np.uint8)).save(photographs / "new.png")
    more = find_similar(limits, served, photographs / "new.png", folder=photographs)
    assert (more.added, more.rows) == (1, 7)  # a copy is no image more
    assert (more.hits[0].image.path, more.hits[0].distance) == ("new.png", 0)
    assert more.hits[0].segment is None
    # Pictures of what was scored stand in for images that are gone.
    write_similar(limits, scored, tmp_path / "page")
    assert (tmp_path / "page" / "index.html").read_text().count("<img") == 5


def test_damaged_tables_are_made_anew(photographs: Path, tmp_path: Path, limits: Settings) -> None:
    served = read_exported(write_segment_model(tmp_path / "parted.onnx"), limits)
    first = find_similar(limits, served, photographs / "2.png", folder=photographs)
    tables = CodeTables(limits, served.sha256)
    for store in (tables.codes, tables.places):
        (shard,) = store.shards.glob("*.safetensors")
        data = bytearray(shard.read_bytes())
        data[-40] ^= 1
        shard.write_bytes(data)
    again = find_similar(limits, served, photographs / "2.png", folder=photographs)
    assert (again.added, again.table()) == (6, first.table())


def test_what_is_refused(photographs: Path, tmp_path: Path, limits: Settings) -> None:
    served = read_exported(write_segment_model(tmp_path / "parted.onnx"), limits)
    other = read_exported(write_segment_model(tmp_path / "other.onnx", seed=1), limits)
    score(limits, other, photographs, tmp_path / "out")
    asked = photographs / "2.png"
    with pytest.raises(InputError, match="codes of two models cannot be compared"):
        find_similar(limits, served, asked, folder=tmp_path / "out")
    with pytest.raises(InputError, match="does not lie in the image of 40 x 24 pixels"):
        find_similar(limits, served, asked, folder=photographs, box=(0, 0, 41, 24))
    with pytest.raises(InputError, match="is no folder"):
        find_similar(limits, served, asked, folder=tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="there is none"):
        find_similar(limits, served, asked, folder=tmp_path / "empty")
    part = tmp_path / "out" / "part-00000.parquet"
    part.write_bytes(part.read_bytes()[:-1] + b"x")
    with pytest.raises(ReceiptError, match="not what the receipt says"):
        find_similar(limits, other, asked, folder=tmp_path / "out")
    for text in ("1,2,3", "a,b,c,d", "1;2;3;4"):
        with pytest.raises(InputError, match="x0,y0,x1,y1 in pixels is expected"):
            BoxType().convert(text, None, None)
