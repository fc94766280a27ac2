"""Inputs and outputs behind URLs: s3:// on a server of moto's on loopback, and memory://."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from dense_case import serve_dense, write_scenes
from scoring_case import serve_tiny, tree, write_images

import drillcore_serving.batch.committed
import drillcore_serving.batch.inputs.url_staging
from drillcore.errors import DrillcoreError, InputError, ReceiptError
from drillcore.remote import RemotePath, place
from drillcore.runtime.batch.receipt import verify
from drillcore.settings import Settings
from drillcore_serving.batch.inputs.input_list import list_inputs
from drillcore_serving.batch.remote_journal import RemoteJournal, claimed
from drillcore_serving.batch.score_batch import score
from drillcore_serving.batch.writing.dense_files import DenseOptions

CHECKOUT = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    from moto.server import ThreadedMotoServer

    started = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    started.start()
    host, port = started.get_host_and_port()
    names = {
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing",
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    before = {name: os.environ.get(name) for name in names}
    os.environ.update(names)
    yield names["AWS_ENDPOINT_URL"]
    started.stop()
    for name, value in before.items():
        os.environ.pop(name) if value is None else os.environ.update({name: value})


@pytest.fixture(params=["s3", "memory"])
def store(request: pytest.FixtureRequest) -> RemotePath:
    """An empty place of each kind."""
    name = f"b{uuid.uuid4().hex[:12]}"
    if request.param == "s3":
        request.getfixturevalue("server")
        return bucket(name)
    return remote(f"memory://{name}")


def bucket(name: str) -> RemotePath:
    path = remote(f"s3://{name}")
    path.fs.mkdir(name)
    return path


def remote(url: str) -> RemotePath:
    found = place(url)
    assert isinstance(found, RemotePath)
    return found


def upload(folder: Path, target: RemotePath) -> None:
    for name, data in tree(folder).items():
        (target / name).write_bytes(data)


def remote_tree(folder: RemotePath) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in sorted(folder.walk_files())}


def test_a_url_gives_what_the_folder_gives(settings: Settings, tmp_path: Path, store: RemotePath) -> None:
    model = serve_tiny(settings)
    write_images(tmp_path / "in" / "a", 20, bad=(3,))
    write_images(tmp_path / "in" / "b", 20, seed=1, bad=(17,))
    (tmp_path / "in" / "b" / "00002.png").write_bytes(b"")
    (tmp_path / "in" / "notes.txt").write_text("no image")
    upload(tmp_path / "in", store / "in")
    score(settings, model, tmp_path / "in", tmp_path / "out", shard_rows=8)
    result = score(settings, model, store / "in", store / "out", shard_rows=8)
    assert (result.inputs, result.scored, result.set_aside) == (40, 37, 3)
    assert remote_tree(store / "out") == tree(tmp_path / "out")
    assert verify(store / "out").scored == 37
    assert score(settings, model, store / "in", store / "out", shard_rows=8).resumed == 40
    # From there to here, and from here to there.
    score(settings, model, store / "in", tmp_path / "here", shard_rows=8)
    score(settings, model, tmp_path / "in", store / "there", shard_rows=8)
    assert tree(tmp_path / "here") == remote_tree(store / "there") == tree(tmp_path / "out")


def test_masks_go_to_the_store(settings: Settings, tmp_path: Path, store: RemotePath) -> None:
    model, options = serve_dense(settings), DenseOptions(overlay=True)
    paths = write_scenes(tmp_path / "in", 10, bad=(2,))
    paths[7].write_bytes(paths[1].read_bytes())
    upload(tmp_path / "in", store / "in")
    score(settings, model, tmp_path / "in", tmp_path / "out", shard_rows=4, options=options)
    score(settings, model, store / "in", store / "out", shard_rows=4, options=options)
    assert remote_tree(store / "out") == tree(tmp_path / "out")
    assert verify(store / "out").masks_sha256
    mask = next((store / "out" / "masks").iterdir())
    mask.write_bytes(b"damaged")
    with pytest.raises(ReceiptError, match="is changed"):
        verify(store / "out")
    score(settings, model, store / "in", store / "out", shard_rows=4, options=options)
    assert remote_tree(store / "out") == tree(tmp_path / "out")


def test_georeferences_of_remote_scenes_are_passed_on(settings: Settings, tmp_path: Path, store: RemotePath) -> None:
    rasterio = pytest.importorskip("rasterio")
    import numpy as np

    model, options = serve_dense(settings), DenseOptions(format="geotiff")
    (tmp_path / "in").mkdir()
    profile = {"driver": "GTiff", "width": 40, "height": 30, "count": 1, "dtype": "uint8", "crs": "EPSG:32633"}
    for number in range(5):
        transform = rasterio.Affine(10, 0, 500_000 + number, 0, -10, 5_000_000)
        with rasterio.open(tmp_path / "in" / f"{number}.tif", "w", transform=transform, **profile) as file:
            file.write(np.full((1, 30, 40), 10 * number, np.uint8))
    upload(tmp_path / "in", store / "in")
    score(settings, model, tmp_path / "in", tmp_path / "out", shard_rows=2, options=options)
    score(settings, model, store / "in", store / "out", shard_rows=2, options=options)
    assert remote_tree(store / "out") == tree(tmp_path / "out")
    with rasterio.MemoryFile(next((store / "out" / "masks").iterdir()).read_bytes()) as memory, memory.open() as mask:
        assert mask.crs.to_epsg() == 32633


class StopHereError(Exception):
    pass


@pytest.mark.parametrize("parts", [0, 2])
def test_only_committed_parts_are_trusted(
    settings: Settings, tmp_path: Path, store: RemotePath, monkeypatch: pytest.MonkeyPatch, parts: int
) -> None:
    model = serve_tiny(settings)
    write_images(tmp_path / "in", 40, bad=(2, 33))
    upload(tmp_path / "in", store / "in")
    score(settings, model, tmp_path / "in", tmp_path / "whole", shard_rows=8)
    real, count = RemoteJournal.append, [0]

    def append(journal: RemoteJournal, entry: object) -> None:
        if count[0] == parts:
            raise StopHereError  # the part is there, what commits it is not
        count[0] += 1
        real(journal, entry)

    with monkeypatch.context() as patch:
        patch.setattr(RemoteJournal, "append", append)
        with pytest.raises(StopHereError):
            score(settings, model, store / "in", store / "out", shard_rows=8)
    with pytest.raises(ReceiptError, match="run the same `score` again"):
        verify(store / "out")
    # A part that nobody has committed, a commit that is cut off, a commit of a part that is damaged.
    (store / "out" / f"part-0000{parts}.parquet").write_bytes(b"not committed")
    (store / "out" / ".progress" / "00000004.json").write_bytes(b'{"shard": 4, "part')
    if parts:
        (store / "out" / "part-00000.parquet").write_bytes(b"damaged")
    result = score(settings, model, store / "in", store / "out", shard_rows=8)
    assert result.resumed == max(0, 8 * (parts - 1))
    assert remote_tree(store / "out") == tree(tmp_path / "whole")
    verify(store / "out")


def test_the_run_that_comes_last_takes_over(settings: Settings, tmp_path: Path, store: RemotePath) -> None:
    model = serve_tiny(settings)
    write_images(tmp_path / "in", 16)
    with claimed(store / "out") as check:
        check()
        score(settings, model, tmp_path / "in", store / "out", shard_rows=4)
        with pytest.raises(DrillcoreError, match="has taken over"):
            check()
    assert verify(store / "out").scored == 16
    assert [name for name in remote_tree(store / "out") if name.startswith(".progress")] == []


def test_lists_name_urls_and_names_beside_them(settings: Settings, tmp_path: Path, store: RemotePath) -> None:
    model = serve_tiny(settings)
    paths = write_images(tmp_path / "in", 3)
    upload(tmp_path / "in", store / "in")
    (store / "in" / "list.txt").write_bytes(f"00002.png\n{store.url}/in/00000.png\ngone.png\n{paths[1]}\n".encode())
    result = score(settings, model, store / "in" / "list.txt", tmp_path / "out")
    assert (result.scored, result.set_aside) == (3, 1)
    (tmp_path / "list.txt").write_text(f"{store.url}/in/00001.png\nin/00002.png\n")
    assert score(settings, model, tmp_path / "list.txt", tmp_path / "two").scored == 2


def test_an_output_inside_of_its_input_is_not_an_input(settings: Settings, tmp_path: Path, store: RemotePath) -> None:
    write_images(tmp_path / "in", 2)
    upload(tmp_path / "in", store / "in")
    upload(tmp_path / "in", store / "in" / "out" / "masks")
    assert [item.path for item in list_inputs(store / "in", skip=store / "in" / "out")] == ["00000.png", "00001.png"]


def test_overwrite_and_foreign_outputs(settings: Settings, tmp_path: Path, store: RemotePath) -> None:
    model = serve_tiny(settings)
    write_images(tmp_path / "in", 6)
    (store / "out" / "mine.txt").write_bytes(b"mine")
    with pytest.raises(InputError, match=r"holds other files \(mine\.txt\)"):
        score(settings, model, tmp_path / "in", store / "out")
    (store / "out" / "mine.txt").unlink()
    score(settings, model, tmp_path / "in", store / "out")
    write_images(tmp_path / "in", 8)
    with pytest.raises(InputError, match="another model, input list or batch"):
        score(settings, model, tmp_path / "in", store / "out")
    assert score(settings, model, tmp_path / "in", store / "out", overwrite=True).scored == 8


def test_what_cannot_be_read_is_set_aside_and_what_fails_stops(
    settings: Settings, tmp_path: Path, store: RemotePath, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = serve_tiny(settings)
    write_images(tmp_path / "in", 4)
    upload(tmp_path / "in", store / "in")
    monkeypatch.setattr(drillcore_serving.batch.inputs.url_staging, "MAX_FILE_BYTES", 10)
    assert score(settings, model, store / "in", tmp_path / "large").set_aside == 4
    monkeypatch.undo()
    monkeypatch.setattr(drillcore_serving.batch.inputs.url_staging, "_PAUSE", 0.001)
    tries = [0]

    def fail(*args: object, **kwargs: object) -> None:
        tries[0] += 1
        raise ConnectionResetError("the line is dead")

    monkeypatch.setattr(store.fs, "get_file", fail)
    with pytest.raises(
        DrillcoreError, match=r"cannot be read: ConnectionResetError: the line is dead; .* run the same"
    ):
        score(settings, model, store / "in", tmp_path / "out")
    assert tries[0] >= 4

    def forbid(*args: object, **kwargs: object) -> None:
        raise PermissionError("Access Denied")

    monkeypatch.setattr(store.fs, "get_file", forbid)
    assert score(settings, model, store / "in", tmp_path / "out").set_aside == 4


def test_staged_files_are_few_and_gone_afterwards(
    settings: Settings, tmp_path: Path, store: RemotePath, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = serve_tiny(settings)
    write_images(tmp_path / "in", 300)
    upload(tmp_path / "in", store / "in")
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr(drillcore_serving.batch.inputs.url_staging.tempfile, "tempdir", str(tmp_path / "tmp"))
    most, done = [0], threading.Event()

    def watch() -> None:
        while not done.is_set():
            most[0] = max(most[0], sum(len(files) for _, _, files in os.walk(tmp_path / "tmp")))
            time.sleep(0.001)

    watcher = threading.Thread(target=watch)
    watcher.start()
    score(settings, model, store / "in", tmp_path / "out", shard_rows=50)
    done.set()
    watcher.join()
    assert 0 < most[0] <= 64 + 2 * 3 * 64
    assert list((tmp_path / "tmp").iterdir()) == []


def test_no_bucket_and_no_object(settings: Settings, tmp_path: Path, server: str) -> None:
    model = serve_tiny(settings)
    write_images(tmp_path / "in", 1)
    with pytest.raises(InputError, match="cannot write to s3://no-such-bucket/out"):
        score(settings, model, tmp_path / "in", remote("s3://no-such-bucket/out"))
    with pytest.raises(InputError, match="no such input: s3://no-such-bucket/in"):
        score(settings, model, remote("s3://no-such-bucket/in"), tmp_path / "out")


def test_workers_read_and_write_a_store(settings: Settings, tmp_path: Path, server: str) -> None:
    from dask_case import cluster

    from drillcore.cluster.address import Cluster

    store = bucket(f"b{uuid.uuid4().hex[:12]}")
    tiny, dense = serve_tiny(settings), serve_dense(settings)
    write_images(tmp_path / "in", 60, bad=(9,))
    write_scenes(tmp_path / "scenes", 12)
    upload(tmp_path / "in", store / "in")
    upload(tmp_path / "scenes", store / "scenes")
    with cluster(tmp_path / "cluster") as address:
        for model, name, rows in ((tiny, "in", 8), (dense, "scenes", 3)):
            score(settings, model, tmp_path / name, tmp_path / f"{name}-out", shard_rows=rows)
            where = Cluster(address)
            score(settings, model, store / name, store / f"{name}-out", shard_rows=rows, engine="dask", cluster=where)
            assert remote_tree(store / f"{name}-out") == tree(tmp_path / f"{name}-out")
            verify(store / f"{name}-out")


# Commits as many shards as it is told and then stands still, so that a kill cannot come too late.
PROGRAM = """
import sys
import threading
from pathlib import Path
from drillcore.remote import place
from drillcore.runtime.model.served import resolve
from drillcore.settings import Settings
from drillcore_serving.batch.score_batch import score
from drillcore_serving.batch.remote_journal import RemoteJournal
settings = Settings.load(Path(sys.argv[1]))
allowed, append = iter(range(int(sys.argv[4]))), RemoteJournal.append
def append_some(journal, entry):
    if next(allowed, None) is None:
        threading.Event().wait()
    append(journal, entry)
RemoteJournal.append = append_some
print("ready", flush=True)
result = score(settings, resolve(settings, "tiny"), place(sys.argv[2]), place(sys.argv[3]), device="cpu", shard_rows=8)
print(result.resumed)
"""


@pytest.mark.slow
def test_a_killed_run_on_a_store_ends_as_an_undisturbed_one(settings: Settings, tmp_path: Path, server: str) -> None:
    store = bucket(f"b{uuid.uuid4().hex[:12]}")
    model = serve_tiny(settings)
    write_images(tmp_path / "in", 160, bad=(9,))
    upload(tmp_path / "in", store / "in")
    score(settings, model, tmp_path / "in", tmp_path / "whole", shard_rows=8)
    output, resumed = store / "out", []
    for count, most in ((1, 4), (9, 9), (None, 20)):
        command = [sys.executable, "-c", PROGRAM, str(settings.root), f"{store}/in", str(output), str(most)]
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, cwd=CHECKOUT, env=os.environ | {"DRILLCORE_WORKERS": "1"}
        )
        while count is not None and process.poll() is None:
            commits = [path for path in (output / ".progress").iterdir() if path.name[:1].isdigit()]
            for path in commits:
                assert (output / json.loads(path.read_bytes())["part"][0]).exists()
            if len(commits) >= count:
                process.send_signal(signal.SIGKILL)
        out, _ = process.communicate(timeout=120)
        resumed.append(out.decode().split())
    assert 9 * 8 <= int(resumed[-1][1]) < 160
    assert remote_tree(output) == tree(tmp_path / "whole")
    assert verify(output).inputs == 160
