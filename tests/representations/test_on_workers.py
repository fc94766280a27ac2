"""Features that Dask workers compute: the bytes of the store are those of a run without them, whatever is killed."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from dask_case import cluster, local_cluster, worker_pids
from PIL import Image

import drillcore.cluster.client
from drillcore.backbones.base import Backbone
from drillcore.backbones.catalogue import get_entry
from drillcore.backbones.networks.plankton_cnn import build_plankton_cnn
from drillcore.backbones.networks.squeezenet import build_squeezenet
from drillcore.cluster.address import Cluster
from drillcore.datasets.decoded_images import DecodedImages
from drillcore.digests import sha256_file
from drillcore.errors import DataError, DeviceError, DrillcoreError, InputError, IntegrityError
from drillcore.export.onnx_network import compiled_network
from drillcore.representations.activations import extraction
from drillcore.representations.activations.extraction import FeatureTable
from drillcore.representations.computing import on_workers
from drillcore.representations.core_samples import samples
from drillcore.representations.core_samples.core import CoreNetwork
from drillcore.representations.core_samples.core_spec import CoreSpec
from drillcore.representations.core_samples.drilling import Targets
from drillcore.representations.core_samples.sampling import SamplingSpec
from drillcore.representations.core_samples.views import ViewSpec
from drillcore.representations.patches.filling import fill_store
from drillcore.representations.patches.params import PatchPlan
from drillcore.representations.patches.pyramid import PatchNetwork
from drillcore.settings import Settings
from drillcore.store import StoreWriter


@pytest.fixture(scope="module")
def here() -> Iterator[Cluster]:
    with local_cluster(n_workers=2, threads_per_worker=2) as cluster:
        yield Cluster(cluster.scheduler_address)


@pytest.fixture
def images(settings: Settings, tmp_path: Path) -> DecodedImages:
    """Files of 41 images, grey ones and of colours, whose digests are looked at."""
    rng, paths = np.random.default_rng(0), []
    (tmp_path / "images").mkdir()
    for number in range(41):
        path = tmp_path / "images" / f"{number:02d}.png"
        Image.fromarray(rng.integers(0, 256, (*rng.integers(20, 60, 2), 3), dtype=np.uint8)).save(path)
        paths.append(path)
    return DecodedImages(settings, paths, 3, None, digests=[sha256_file(path) for path in paths])


@pytest.fixture
def backbone() -> Backbone:
    """A small network that onnxruntime computes, as those that are large enough are."""
    made = build_plankton_cnn("cnn1", 6, seed=2)
    made.compiler = compiled_network
    return made


def extract(backbone: Backbone, images: DecodedImages, settings: Settings, root: Path, **given: Any) -> FeatureTable:
    load = DecodedImages(settings, images.paths, backbone.channels, None, digests=images.digests)
    return extraction.extract(backbone, ["layer3"], images.digests, load, settings, batch=4, root=root, **given)


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def doubled(rows: np.ndarray) -> np.ndarray:
    return np.concatenate([rows, -rows], axis=1)


def test_the_store_has_the_bytes_of_a_run_without(
    backbone: Backbone, images: DecodedImages, settings: Settings, tmp_path: Path, here: Cluster
) -> None:
    images.paths[5], images.digests[5] = images.paths[4], images.digests[4]  # the same image twice
    several = dataclasses.replace(settings, threads=3)
    for name, given in (("plain", {}), ("then", {"then": doubled, "dtype": "float32"})):
        alone = extract(backbone, images, several, tmp_path / f"{name}-alone", **given)
        found = extract(backbone, images, settings, tmp_path / f"{name}-dask", cluster=here, **given)
        assert (found.extracted, found.forwarded) == (alone.extracted, alone.forwarded) == (40, 40)
        assert files(tmp_path / f"{name}-dask") == files(tmp_path / f"{name}-alone")
    assert extract(backbone, images, settings, tmp_path / "plain-dask", cluster=Cluster("127.0.0.1:9")).extracted == 0


def test_core_samples_and_patches_have_them_too(
    images: DecodedImages, settings: Settings, tmp_path: Path, here: Cluster
) -> None:
    squeezenet = build_squeezenet(seed=1, resize=None)
    squeezenet.compiler = compiled_network
    core = CoreNetwork(squeezenet, ("conv1", "fire4"), CoreSpec(position=3))
    network = PatchNetwork(get_entry("timm:resnet18").build(None, 1, "any"), ["layer1"], PatchPlan(side=32))
    targets = Targets(digests=images.digests, load=Brightness(images), classes=2)
    for name, where in (("alone", None), ("dask", here)):
        own = dataclasses.replace(settings, state=tmp_path / name)
        how: dict[str, Any] = {"sampling": SamplingSpec(pixels=20), "views": ViewSpec(count=2, turn=True)}
        found = samples.extract(core, images.digests, images, targets, own, **how, cluster=where)
        assert found.extracted == 82
        assert core._by is None
        for mirrored in (False, True):
            fill_store(own, network, images.digests[:5], images, mirrored=mirrored, cluster=where)
    assert len(files(tmp_path / "dask")) > 12
    assert files(tmp_path / "dask") == files(tmp_path / "alone")


@dataclasses.dataclass
class Brightness:
    """A label for each pixel: whether it is bright."""

    images: DecodedImages

    def __call__(self, number: int) -> np.ndarray:
        return (self.images[number].mean(axis=2) > 127).astype(np.uint8)


def test_an_interrupted_run_goes_on(
    backbone: Backbone,
    images: DecodedImages,
    settings: Settings,
    tmp_path: Path,
    here: Cluster,
) -> None:
    cold = extract(backbone, images, settings, tmp_path / "cold")
    broken = images.paths[30].read_bytes()
    images.paths[30].write_bytes(b"no image")
    with pytest.raises(IntegrityError, match=r"30\.png is not the file that the data set lists"):
        extract(backbone, images, settings, tmp_path / "dask", cluster=here)
    images.paths[30].unlink()
    with pytest.raises(DataError, match=r"unreadable: 30\.png cannot be read"):
        extract(backbone, images, settings, tmp_path / "dask", cluster=here)
    images.paths[30].write_bytes(broken)
    found = extract(backbone, images, settings, tmp_path / "dask", cluster=here)
    assert found.extracted == 41 - 28  # the batches before the broken one are there
    assert found.rows.tobytes() == cold.rows.tobytes()


def test_what_a_worker_must_have_in_common(
    backbone: Backbone,
    images: DecodedImages,
    settings: Settings,
    tmp_path: Path,
    here: Cluster,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fails(kind: type[DrillcoreError], said: str, settings: Settings = settings, where: Cluster = here) -> None:
        with pytest.raises(kind, match=said):
            extract(backbone, images, settings, tmp_path / "dask", cluster=where)

    with monkeypatch.context() as changed:
        changed.setattr(on_workers, "versions", lambda names: (("torch", "0.1"),))
        fails(InputError, r"torch .* is installed, 0\.1 where the run was started")
    with monkeypatch.context() as changed:
        changed.setattr("drillcore.cluster.on_worker.seen_size", lambda path: None)
        fails(InputError, r"00\.png is not what it is where the run was started")
    fails(DeviceError, "--resources GPU=1", dataclasses.replace(settings, device="cuda"))
    fails(InputError, "Use tls://", where=Cluster("tcp://10.0.0.7:8786"))
    monkeypatch.setattr(drillcore.cluster.client, "CONNECT_SECONDS", 1)
    fails(InputError, r"no scheduler answers at tcp://127\.0\.0\.1:9", where=Cluster("127.0.0.1:9"))
    assert extract(backbone, images, settings, tmp_path / "dask", cluster=here).extracted == 41


def test_no_secret_goes_to_a_worker(
    backbone: Backbone, images: DecodedImages, settings: Settings, tmp_path: Path, here: Cluster, monkeypatch: Any
) -> None:
    from distributed import protocol

    secret = dataclasses.replace(settings, webhook_secret="not-for-everybody", signing_password="nor-this")  # noqa: S106
    sent, send = [], protocol.serialize_bytes
    monkeypatch.setattr(protocol, "serialize_bytes", lambda work: sent.append(send(work)) or sent[-1])
    extract(backbone, images, secret, tmp_path / "dask", cluster=here)
    assert len(sent) == 1
    assert b"layer3" in sent[0]
    assert b"not-for-everybody" not in sent[0]
    assert b"nor-this" not in sent[0]


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_killed_workers_change_nothing(
    backbone: Backbone, images: DecodedImages, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each of the two, one after the other, with a part or two of the eleven in its hands."""
    from distributed import Client

    whole = extract(backbone, images, settings, tmp_path / "alone")
    commit, killed = StoreWriter.commit, list[int]()
    with cluster(tmp_path / "cluster") as address, Client(address, timeout=60, set_as_default=False) as client:
        client.wait_for_workers(2, timeout=300)

        def kill_and_commit(writer: StoreWriter) -> None:
            if writer.pending and len(killed) < 2:
                pids = [pid for pid in worker_pids(client) if pid not in killed]
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pids[0], signal.SIGKILL)
                killed.append(pids[0])
            commit(writer)

        monkeypatch.setattr(StoreWriter, "commit", kill_and_commit)
        found = extract(backbone, images, settings, tmp_path / "dask", cluster=Cluster(address))
    assert len(killed) == 2
    assert found.extracted == whole.extracted == 41
    assert files(tmp_path / "dask") == files(tmp_path / "alone")
