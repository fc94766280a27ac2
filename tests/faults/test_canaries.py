"""A pickle in every place a file is read: it is refused or passed over, and it never runs."""

from __future__ import annotations

import io
import json
import pickle
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from drillcore.digests import sha256_bytes
from drillcore.errors import DataError, DrillcoreError, InputError, IntegrityError, StoreError, UnsafeModelError
from drillcore.files import write_json
from drillcore.settings import Settings


class Canary:
    """Its unpickling makes a folder."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.mkdir, (self.marker,)


@pytest.fixture
def marker(tmp_path: Path) -> Any:
    place = tmp_path / "the-canary-sang"
    pickle.loads(pickle.dumps(Canary(place)))  # noqa: S301 - a canary that cannot sing proves nothing
    assert place.is_dir()
    place.rmdir()
    yield place
    assert not place.exists(), "a pickle was loaded"


def plain(marker: Path) -> bytes:
    return pickle.dumps(Canary(marker))


def old_protocol(marker: Path) -> bytes:
    return pickle.dumps(Canary(marker), protocol=0)


def torch_zip(marker: Path) -> bytes:
    """As torch.save writes it."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("archive/data.pkl", plain(marker))
        archive.writestr("archive/version", "3\n")
    return stream.getvalue()


def numpy_objects(marker: Path) -> bytes:
    stream = io.BytesIO()
    np.save(stream, np.array([Canary(marker)], dtype=object), allow_pickle=True)
    return stream.getvalue()


def numpy_archive(marker: Path) -> bytes:
    stream = io.BytesIO()
    np.savez(stream, digests=np.array([Canary(marker)], dtype=object), thumbs=np.zeros((1, 256), np.uint8))
    return stream.getvalue()


def parquet_extension(marker: Path) -> bytes:
    """A column whose type is a pickle (CVE-2023-47248), and pandas metadata that names one."""
    extension = {"ARROW:extension:name": "arrow.py_extension_type", "ARROW:extension:metadata": plain(marker)}
    column = pa.field("path", pa.string(), metadata=extension)
    about = {"pandas": json.dumps({"index_columns": [{"kind": "pickle"}], "columns": [{"numpy_type": "object"}]})}
    schema = pa.schema([column, pa.field("sha256", pa.binary())], metadata=about)
    stream = io.BytesIO()
    pq.write_table(pa.table([["a.png"], [plain(marker)]], schema=schema), stream)
    return stream.getvalue()


FORMS = [plain, old_protocol, torch_zip, numpy_objects, numpy_archive, parquet_extension]
every_form = pytest.mark.parametrize("form", FORMS, ids=lambda form: form.__name__)
Form = Callable[[Path], bytes]


def refused(kind: type[DrillcoreError], work: Callable[[], object]) -> None:
    with pytest.raises(kind) as caught:
        work()
    assert "\n" not in str(caught.value)
    assert "Traceback" not in str(caught.value)


@every_form
def test_weights(form: Form, marker: Path, tmp_path: Path) -> None:
    from drillcore.backbones.networks.plankton_cnn import PlanktonCnn
    from drillcore.backbones.weights.tensors import load_state

    data, module = form(marker), PlanktonCnn("cnn1", 3, seed=0)
    for name in ("weights.safetensors", "weights.pth"):
        (tmp_path / name).write_bytes(data)
        place = tmp_path / name
        refused(IntegrityError, lambda place=place: load_state(module, place, sha256_bytes(data)))


@every_form
def test_checkpoints_and_kept_backbones(form: Form, marker: Path, settings: Settings) -> None:
    from drillcore.backbones.training.checkpoint import read_checkpoint
    from drillcore.backbones.weights.artifacts import artifacts_folder, checkpoint_path, latest_artifact, read_artifact

    checkpoint = checkpoint_path(settings, "cnn1", {})
    checkpoint.parent.mkdir(parents=True)
    checkpoint.write_bytes(form(marker))
    assert read_checkpoint(checkpoint, "identity") is None
    folder = artifacts_folder(settings, "cnn1") / ("a" * 64)
    folder.mkdir(parents=True)
    (folder / "backbone.json").write_bytes(form(marker))
    refused(IntegrityError, lambda: read_artifact(settings, "cnn1", "a" * 64))
    pointer = artifacts_folder(settings, "cnn1") / "purposes" / checkpoint.with_suffix(".json").name
    pointer.parent.mkdir()
    pointer.write_bytes(form(marker))
    assert latest_artifact(settings, "cnn1", {}) is None


@every_form
def test_heads_and_growing_trees(form: Form, marker: Path, tmp_path: Path) -> None:
    from drillcore.heads.base import FitRun
    from drillcore.heads.forest.forest import ForestHead
    from drillcore.heads.saving import ARRAYS_FILE, META_FILE, load_head

    data = form(marker)
    described = {"schema": 1, "head": "forest", "arrays_sha256": sha256_bytes(data), "meta": {}}
    write_json(tmp_path / META_FILE, described)
    (tmp_path / ARRAYS_FILE).write_bytes(data)
    refused(IntegrityError, lambda: load_head(tmp_path))
    (tmp_path / META_FILE).write_bytes(data)
    refused(IntegrityError, lambda: load_head(tmp_path))

    rows, labels = np.random.default_rng(0).random((30, 4)), np.arange(30) % 3
    growth = tmp_path / "growth"
    whole = ForestHead(n_estimators=8, seed=1).fit(rows, labels, run=FitRun(checkpoint=growth))
    for portion in growth.iterdir():
        portion.write_bytes(sha256_bytes(data).encode() + b"\n" + data)
    again = ForestHead(n_estimators=8, seed=1).fit(rows, labels, run=FitRun(checkpoint=growth))
    assert np.array_equal(again.predict_proba(rows), whole.predict_proba(rows))


@every_form
def test_the_feature_store(form: Form, marker: Path, tmp_path: Path) -> None:
    from drillcore.store import FeatureSpec, FeatureStore, StoreWriter

    spec = FeatureSpec(weights="w" * 64, taps=("layer3",), preprocessing={}, dtype="float32")
    keys, rows = [f"{number:064x}" for number in range(4)], np.arange(12, dtype=np.float32).reshape(4, 3)
    store = FeatureStore(tmp_path / "features", spec)
    with StoreWriter(store) as writer:
        writer.add(keys, rows)
    (shard,) = store.shards.iterdir()
    kept = shard.read_bytes()
    store.index_path.write_bytes(form(marker))
    assert store.missing(keys).all()
    with StoreWriter(store):  # the index is made anew of the shards
        pass
    assert np.array_equal(FeatureStore(store.root, spec).read(keys), rows)
    shard.write_bytes(form(marker))
    fresh = FeatureStore(store.root, spec)
    assert fresh.missing(keys).all()
    refused(StoreError, lambda: fresh.read(keys))
    assert kept != shard.read_bytes()


def test_an_index_that_points_out_of_the_store(tmp_path: Path, settings: Settings) -> None:
    """What it names would be unlinked as a damaged shard."""
    from drillcore.store import FeatureSpec, FeatureStore, StoreWriter
    from drillcore.store.index import index_of_shard, write_index
    from drillcore.store.shards import open_shard

    spec = FeatureSpec(weights="w" * 64, taps=("layer3",), preprocessing={}, dtype="float32")
    store = FeatureStore(tmp_path / "features", spec)
    with StoreWriter(store) as writer:
        writer.add([f"{1:064x}"], np.ones((1, 3), np.float32))
    precious = tmp_path / "precious.safetensors"
    precious.write_bytes(b"mine")
    (shard,) = store.shards.iterdir()
    write_index(store.index_path, index_of_shard("../../../precious.safetensors", open_shard(shard)))
    with StoreWriter(FeatureStore(store.root, spec)):
        pass
    assert precious.read_bytes() == b"mine"


@every_form
def test_probabilities_thumbnails_and_records(form: Form, marker: Path, tmp_path: Path) -> None:
    from drillcore.quality.near_duplicates import _recall
    from drillcore.retrain.records import Fitted, RunFolder
    from drillcore.retrain.releasing import _evidence

    file = tmp_path / "probabilities.npy"
    file.write_bytes(form(marker))
    refused(IntegrityError, lambda: _evidence(file))
    assert [len(part) for part in _recall(file)] == [0, 0]
    folder = RunFolder(tmp_path, "fingerprint")
    (tmp_path / "fit.json").write_bytes(form(marker))
    assert folder.read(Fitted) is None


@every_form
def test_model_files_and_pointers(
    form: Form, marker: Path, settings: Settings, tiny_models: ModuleType, tmp_path: Path
) -> None:
    from drillcore.runtime.model.served import blob_path, put_blob, read_pointer, resolve, write_pointer
    from drillcore.runtime.model.session import open_model

    file = tmp_path / "model.onnx"
    file.write_bytes(form(marker))
    refused(UnsafeModelError, lambda: open_model(file))
    refused(UnsafeModelError, lambda: open_model(file, sha256=sha256_bytes(form(marker))))
    sha256 = put_blob(settings, tiny_models.write_tiny_model(tmp_path / "tiny.onnx"))
    write_pointer(settings, "tiny", 1, sha256)
    blob_path(settings, sha256).write_bytes(form(marker))
    refused(IntegrityError, lambda: resolve(settings, "tiny"))
    (settings.served / "tiny.json").write_bytes(form(marker))
    refused(IntegrityError, lambda: read_pointer(settings, "tiny"))


@every_form
def test_manifests_and_what_stands_beside_them(form: Form, marker: Path, settings: Settings) -> None:
    from drillcore.datasets.description import read_description
    from drillcore.datasets.ingest import current_manifest
    from drillcore.datasets.landing import _last_lineage
    from drillcore.datasets.left_out import read_left_out
    from drillcore.datasets.manifest import read_manifest
    from drillcore.datasets.pointers import read_history, read_refusal
    from drillcore.datasets.probe import _recall
    from drillcore.versions.tree import current_tree, outs_md5, read_snapshot, tree_of, trusted_landing

    digest, data = "b" * 64, form(marker)
    for place in (
        settings.manifests / "shells" / f"{digest}.parquet",
        settings.manifests / "shells" / "current.json",
        settings.state / "probed" / "shells.parquet",
        settings.manifests / "shells" / "history.json",
        settings.manifests / "shells" / "refused.json",
        settings.state / "dvc" / "snapshots" / "shells.json",
        settings.data / "shells" / "set-aside.json",
        settings.state / "dvc" / "cache" / "files" / "md5" / "aa" / ("a" * 30),
        settings.state / "lineages" / "shells.json",
        settings.data / "shells" / "drillcore.json",
    ):
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(data)
    refused(DataError, lambda: read_manifest(settings, "shells", digest))
    refused(DataError, lambda: current_manifest(settings, "shells"))
    refused(DataError, lambda: read_description(settings.data / "shells"))
    refused(DataError, lambda: read_left_out(settings.data / "shells"))
    assert tree_of(settings, "a" * 32) is None
    refused(DataError, lambda: outs_md5(data.decode("latin-1")))
    (settings.root / "data.dvc").write_bytes(data)
    refused(DataError, lambda: current_tree(settings))
    assert _recall(settings.state / "probed" / "shells.parquet", {}, {}) == ({}, None)
    assert read_snapshot(settings, "shells") is None
    assert trusted_landing(settings, "shells") == set()
    assert (read_history(settings, "shells"), read_refusal(settings, "shells")) == ([], "")
    assert _last_lineage(settings, "shells") == 0


@every_form
def test_inputs_of_scoring(form: Form, marker: Path, tmp_path: Path) -> None:
    from drillcore_serving.batch.inputs.input_list import list_inputs

    for name in ("list.parquet", "list.txt"):
        (tmp_path / name).write_bytes(form(marker))
        if form is parquet_extension and name == "list.parquet":
            # What the column says of its type is not followed: it is text.
            assert [item.path for item in list_inputs(tmp_path / name)] == ["a.png"]
        elif not (form is old_protocol and name == "list.txt"):  # which is text
            refused(InputError, lambda name=name: list_inputs(tmp_path / name))


@every_form
def test_outputs_of_scoring(
    form: Form, marker: Path, settings: Settings, tiny_models: ModuleType, tmp_path: Path
) -> None:
    from PIL import Image

    from drillcore.errors import ReceiptError
    from drillcore.runtime.batch.receipt import RECEIPT, SET_ASIDE, read_receipt, verify
    from drillcore.runtime.model.served import put_blob, resolve, write_pointer
    from drillcore_serving.batch.journal import JOURNAL, Journal
    from drillcore_serving.batch.score_batch import score

    write_pointer(settings, "tiny", 1, put_blob(settings, tiny_models.write_tiny_model(tmp_path / "tiny.onnx")))
    model, source, output = resolve(settings, "tiny"), tmp_path / "in", tmp_path / "out"
    source.mkdir()
    Image.fromarray(np.arange(200, dtype=np.uint8).reshape(10, 20)).save(source / "a.png")
    (source / "b.png").write_bytes(form(marker))
    assert score(settings, model, source, output).set_aside == 1
    whole = {path.name: path.read_bytes() for path in output.iterdir()}

    for name, field in (("part-00000.parquet", "parts"), (SET_ASIDE, "set_aside_sha256")):
        (output / name).write_bytes(form(marker))
        refused(ReceiptError, lambda: verify(output))
        # Even where the receipt vouches for it.
        said, digest = json.loads((output / RECEIPT).read_text()), sha256_bytes(form(marker))
        said |= {field: [said["parts"][0] | {"sha256": digest}] if field == "parts" else digest}
        write_json(output / RECEIPT, said)
        refused(ReceiptError, lambda: verify(output))
        score(settings, model, source, output)
        assert {path.name: path.read_bytes() for path in output.iterdir()} == whole
    (output / RECEIPT).write_bytes(form(marker))
    refused(ReceiptError, lambda: read_receipt(output))
    refused(InputError, lambda: score(settings, model, source, output))
    (output / JOURNAL).write_bytes(form(marker))
    refused(InputError, lambda: Journal(output).read())
    shutil.rmtree(output)


@pytest.mark.parametrize(
    "tag",
    [
        "!!python/object/apply:pathlib.Path.mkdir [{}]",
        "!!python/object/apply:os.mkdir ['{}']",
        "!!python/object/new:os.mkdir ['{}']",
        "!!python/name:os.mkdir",
        "!!python/module:os",
        "!!python/tuple [1, 2]",
    ],
)
def test_tags_in_yaml(tag: str, marker: Path, settings: Settings) -> None:
    from shells import RECIPE

    from drillcore.errors import RecipeError
    from drillcore.recipes import load_recipe
    from drillcore.versions.tree import outs_md5

    bad = tag.format(marker)
    for text in (RECIPE.replace("dataset:", f"augment: {bad}\ndataset:"), bad, f"{bad}: 1\n{RECIPE}"):
        (settings.models / "shells-forest.yaml").write_text(text)
        refused(RecipeError, lambda: load_recipe(settings, "shells-forest"))
    refused(DataError, lambda: outs_md5(f"outs:\n- md5: {bad}\n"))
