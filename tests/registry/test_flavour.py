"""What MLflow is told that a version needs: whole, pinned, and to be had from where an installer looks."""

from __future__ import annotations

import importlib.metadata
import json
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from drillcore.registry import flavour


def test_everything_is_pinned_at_what_is_installed() -> None:
    found = {one.name: one for one in map(Requirement, flavour.requirements())}
    assert {"onnx", "numpy", "pillow", "onnxruntime-gpu", "onnxruntime"} <= set(found)
    here = [one for one in found.values() if one.marker is None or one.marker.evaluate()]
    for one in here:
        if one.url is None:
            assert str(one.specifier) == f"=={importlib.metadata.version(one.name)}"
    for platform in ("linux", "darwin"):
        builds = [found[name].marker for name in ("onnxruntime-gpu", "onnxruntime")]
        assert sum(mark is not None and mark.evaluate({"sys_platform": platform}) for mark in builds) == 1


@pytest.mark.parametrize(
    ("origin", "named"),
    [
        (None, ["drillcore==1.2.3"]),
        ({"url": "file:///home/me/drillcore", "dir_info": {"editable": True}}, []),
        ({"url": "file:///home/me/drillcore-1.2.3-py3-none-any.whl", "archive_info": {}}, []),
        ({"url": "https://host/drillcore-1.2.3-py3-none-any.whl"}, ["drillcore @ https://host/drillcore-1.2.3-py3-none-any.whl"]),
        (
            {"url": "https://host/drillcore.git", "vcs_info": {"vcs": "git", "commit_id": "abc123"}},
            ["drillcore @ git+https://host/drillcore.git@abc123"],
        ),
    ],
)  # fmt: skip
def test_drillcore_is_named_where_it_can_be_had(tmp_path: Path, origin: object, named: list[str]) -> None:
    (tmp_path / "METADATA").write_text("Metadata-Version: 2.1\nName: drillcore\nVersion: 1.2.3\n")
    if origin is not None:
        (tmp_path / "direct_url.json").write_text(json.dumps(origin))
    assert flavour._drillcore(importlib.metadata.PathDistribution(tmp_path)) == named
    assert all(Requirement(text).name == "drillcore" for text in named)
