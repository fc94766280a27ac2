"""A retrain whose features Dask workers compute: the store of a run without them."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from dask_case import local_cluster

from drillcore.cluster.address import Cluster
from drillcore.retrain.retraining import STAGES, Retrain
from drillcore.settings import Settings


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_the_features_are_those_of_a_run_without(retrained: tuple[Settings, dict[str, Any]]) -> None:
    settings, _ = retrained
    before = files(settings.state / "features")
    assert len(before) > 2
    shutil.rmtree(settings.state / "features")
    with local_cluster(n_workers=2, threads_per_worker=1) as workers:
        where = Cluster(workers.scheduler_address)
        with Retrain(settings, "shells-forest", cluster=where) as work:
            for stage in STAGES[:3]:
                done = work.run(stage)
    assert done.stage == "features"
    assert not done.reused
    assert files(settings.state / "features") == before
