"""The bill of materials beside a version: valid, whole, and the same for the same."""

from __future__ import annotations

import copy
import importlib.metadata
import json
import platform
from pathlib import Path
from typing import Any

from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from drillcore import registry
from drillcore.retrain.materials import SBOM, image_bill, training_bill
from drillcore.settings import Settings
from drillcore.tracking import bring_artifacts


def test_a_version_has_the_bill_of_its_training(retrained: tuple[Settings, dict[str, Any]], tmp_path: Path) -> None:
    settings, summary = retrained
    row = registry.get_version(settings, "shells-forest", 1)
    bring_artifacts(settings, row.run_id, tmp_path, [SBOM])
    text = (tmp_path / SBOM).read_text()
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(text) is None
    bill = json.loads(text)
    model = bill["metadata"]["component"]
    assert (model["type"], model["name"]) == ("machine-learning-model", "shells-forest")
    assert model["hashes"] == [{"alg": "SHA-256", "content": summary["model_sha256"]}]
    listed = {item["name"]: item["version"] for item in bill["components"]}
    assert len(listed) == len(bill["components"])
    for name in ("torch", "scikit-learn", "onnx", "drillcore"):
        assert listed[name] == importlib.metadata.version(name)
    needs = {item["ref"]: item.get("dependsOn", []) for item in bill["dependencies"]}
    assert f"numpy=={listed['numpy']}" in needs[f"onnx=={listed['onnx']}"]
    assert {"name": "drillcore:python", "value": platform.python_version()} in bill["metadata"]["properties"]
    assert bill == training_bill("shells-forest", summary["model_sha256"])  # no time, no chance


def test_another_content_is_another_bill() -> None:
    packages, needs = {"b": "2", "a": "1"}, {"a": ["b", "elsewhere"]}
    bill = image_bill("image", "0.1", packages, needs)
    assert bill == image_bill("image", "0.1", dict(sorted(packages.items())), copy.deepcopy(needs))
    assert {item["ref"]: item.get("dependsOn") for item in bill["dependencies"]} == {
        "root": ["a==1", "b==2"],
        "a==1": ["b==2"],
        "b==2": None,
    }
    assert image_bill("image", "0.1", {**packages, "a": "3"}, needs)["serialNumber"] != bill["serialNumber"]
