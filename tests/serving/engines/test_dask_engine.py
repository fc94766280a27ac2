from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from dask_case import local_cluster
from dense_case import serve_dense, write_scenes
from scoring_case import serve_tiny, tree, write_images

import drillcore.cluster.client
import drillcore.cluster.on_worker
import drillcore_serving.engines.dask_engine
import drillcore_serving.engines.worker
from drillcore.cluster.address import Cluster
from drillcore.errors import DeviceError, DrillcoreError, InputError
from drillcore.runtime.batch.receipt import verify
from drillcore.settings import Settings
from drillcore_serving.batch.score_batch import score
from drillcore_serving.batch.writing.dense_files import DenseOptions


@pytest.fixture(scope="module")
def here() -> Iterator[Cluster]:
    with local_cluster(n_workers=2, threads_per_worker=1) as cluster:
        yield Cluster(cluster.scheduler_address)


@pytest.fixture(autouse=True)
def _fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drillcore_serving.engines.worker, "_SESSIONS", {})


def test_both_engines_give_the_same_output(
    settings: Settings, tmp_path: Path, here: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = serve_tiny(settings)
    write_images(tmp_path / "in", 60, bad=(3, 41))
    score(settings, model, tmp_path / "in", tmp_path / "whole", shard_rows=8)
    monkeypatch.chdir(tmp_path)  # relative paths mean the same to a worker, wherever it was started
    result = score(settings, model, Path("in"), Path("out"), shard_rows=8, engine="dask", cluster=here)
    assert (result.inputs, result.scored, result.resumed, result.parts) == (60, 58, 0, 8)
    assert tree(tmp_path / "out") == tree(tmp_path / "whole")
    assert score(settings, model, Path("in"), Path("out"), shard_rows=8, engine="dask", cluster=here).resumed == 60
    # An output that one engine has begun may be ended by the other.
    (tmp_path / "out" / "part-00004.parquet").unlink()
    assert score(settings, model, Path("in"), Path("out"), shard_rows=8).resumed == 52
    assert tree(tmp_path / "out") == tree(tmp_path / "whole")


def test_dense_models_write_their_masks_from_the_workers(settings: Settings, tmp_path: Path, here: Cluster) -> None:
    model, options = serve_dense(settings), DenseOptions(overlay=True)
    paths = write_scenes(tmp_path / "in", 24, bad=(5,))
    for number in (8, 15, 22):  # the same image in several shards: one mask, whoever comes first
        paths[number].write_bytes(paths[1].read_bytes())
    score(settings, model, tmp_path / "in", tmp_path / "whole", shard_rows=3, options=options)
    score(
        settings, model, tmp_path / "in", tmp_path / "out", shard_rows=3, options=options, engine="dask", cluster=here
    )
    assert tree(tmp_path / "out") == tree(tmp_path / "whole")
    assert verify(tmp_path / "out").masks_sha256


def test_each_worker_opens_the_model_once(
    settings: Settings, tmp_path: Path, here: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = serve_tiny(settings)
    write_images(tmp_path / "in", 40)
    real, opened = drillcore_serving.engines.worker.open_model, []

    def counted(*args: object, **kwargs: object) -> object:
        opened.append(kwargs["sha256"])
        return real(*args, **kwargs)

    monkeypatch.setattr(drillcore_serving.engines.worker, "open_model", counted)
    score(settings, model, tmp_path / "in", tmp_path / "out", shard_rows=4, engine="dask", cluster=here)
    assert opened == [model.sha256]  # both workers are this process


def test_a_worker_that_does_not_see_the_model_is_sent_it(
    settings: Settings, tmp_path: Path, here: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = serve_tiny(settings)
    write_images(tmp_path / "in", 40)
    score(settings, model, tmp_path / "in", tmp_path / "whole", shard_rows=4)
    real = Path.is_file
    monkeypatch.setattr(
        drillcore_serving.engines.worker.Path, "is_file", lambda path: path != model.path and real(path)
    )
    monkeypatch.setattr("drillcore_serving.batch.score_batch.open_model", drillcore_serving.engines.worker.open_model)
    score(settings, model, tmp_path / "in", tmp_path / "out", shard_rows=4, engine="dask", cluster=here)
    assert tree(tmp_path / "out") == tree(tmp_path / "whole")


def test_a_worker_without_the_inputs_is_an_error_and_no_batch_of_missing_images(
    settings: Settings, tmp_path: Path, here: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = serve_tiny(settings)
    write_images(tmp_path / "in", 10)
    monkeypatch.setattr(drillcore.cluster.on_worker, "seen_size", lambda path: None)
    with pytest.raises(InputError, match=r"00000\.png is not what it is where the run was started: use a folder that"):
        score(settings, model, tmp_path / "in", tmp_path / "out", engine="dask", cluster=here)
    monkeypatch.undo()
    assert score(settings, model, tmp_path / "in", tmp_path / "out", engine="dask", cluster=here).scored == 10


def test_a_worker_with_other_versions_is_refused(
    settings: Settings, tmp_path: Path, here: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = serve_tiny(settings)
    write_images(tmp_path / "in", 3)
    monkeypatch.setattr(drillcore_serving.engines.dask_engine, "versions", lambda names: (("numpy", "0.1"),))
    with pytest.raises(InputError, match=r"numpy .* is installed, 0\.1 where the run was started"):
        score(settings, model, tmp_path / "in", tmp_path / "out", engine="dask", cluster=here)


def test_cuda_takes_a_slot_and_without_one_says_so(settings: Settings, tmp_path: Path, here: Cluster) -> None:
    model = serve_tiny(settings)
    write_images(tmp_path / "in", 3)
    with pytest.raises(DeviceError, match="--resources GPU=1"):
        score(settings, model, tmp_path / "in", tmp_path / "out", device="cuda", engine="dask", cluster=here)
    if Path("/dev/nvidia0").exists():
        return
    with local_cluster(n_workers=1, threads_per_worker=2, resources={"GPU": 1}) as cluster:
        address = Cluster(cluster.scheduler_address)
        with pytest.raises(DeviceError, match="CUDA"):  # the slot was found and taken; there is no such device here
            score(settings, model, tmp_path / "in", tmp_path / "out", device="cuda", engine="dask", cluster=address)


def test_a_shard_that_fails_names_itself(
    settings: Settings, tmp_path: Path, here: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = serve_tiny(settings)
    write_images(tmp_path / "in", 3)

    def fail(*args: object, **kwargs: object) -> None:
        raise ZeroDivisionError("of ours")

    monkeypatch.setattr(drillcore_serving.engines.worker.ShardScorer, "ready", fail)
    with pytest.raises(DrillcoreError, match=r"shard 0 \(inputs 0 to 2\) failed on a worker: ZeroDivisionError"):
        score(settings, model, tmp_path / "in", tmp_path / "out", engine="dask", cluster=here)


def test_nobody_at_the_address(settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = serve_tiny(settings)
    write_images(tmp_path / "in", 3)
    monkeypatch.setattr(drillcore.cluster.client, "CONNECT_SECONDS", 1)
    with pytest.raises(InputError, match=r"no scheduler answers at tcp://127\.0\.0\.1:9"):
        score(settings, model, tmp_path / "in", tmp_path / "out", engine="dask", cluster=Cluster("127.0.0.1:9"))


def test_a_scheduler_behind_tls(settings: Settings, tmp_path: Path) -> None:
    pytest.importorskip("cryptography")
    from distributed.security import Security

    security = Security.temporary()
    pem = {"ca": security.tls_ca_file, "cert": security.tls_client_cert, "key": security.tls_client_key}
    for name, text in pem.items():
        (tmp_path / f"{name}.pem").write_text(text)
    model = serve_tiny(settings)
    write_images(tmp_path / "in", 12)
    with local_cluster(n_workers=1, protocol="tls", security=security) as cluster:
        address = cluster.scheduler_address
        assert address.startswith("tls://")
        where = Cluster(address, *(tmp_path / f"{name}.pem" for name in pem))
        assert score(settings, model, tmp_path / "in", tmp_path / "out", engine="dask", cluster=where).scored == 12
        with pytest.raises(InputError, match="no scheduler answers at tls://"):
            score(settings, model, tmp_path / "in", tmp_path / "two", engine="dask", cluster=Cluster(address))
