"""Manifests of Kubernetes without a cluster: their schemas, and how they point at each other."""

from __future__ import annotations

import re

import pytest
import yaml
from deploy_case import DEPLOY, MANIFESTS, USER, documents, named


@pytest.mark.parametrize("version", ["1.31", "latest"])
def test_manifests_fit_the_schemas_of_kubernetes(version: str) -> None:
    validate = pytest.importorskip("kubernetes_validate", reason="kubernetes-validate is in the dependency group dev")
    wanted = validate.latest_version() if version == "latest" else version
    for name, document in documents():
        try:
            validate.validate(document, wanted, strict=True)
        except Exception as error:
            raise AssertionError(f"{name}: {error}") from error
    broken = next(document for name, document in documents() if name == "deployment.yaml")
    broken["spec"]["template"]["spec"]["containers"][0]["imagePullPolice"] = "Always"
    with pytest.raises(validate.ValidationError):
        validate.validate(broken, wanted, strict=True)


def test_the_kustomization_lists_every_manifest() -> None:
    listed = yaml.safe_load((DEPLOY / "kubernetes" / "kustomization.yaml").read_text())["resources"]
    assert sorted(listed) == [path.name for path in MANIFESTS]


def test_pods_are_locked_down_and_probed() -> None:
    pod = named("Deployment")["spec"]["template"]["spec"]
    assert pod["automountServiceAccountToken"] is False
    context = pod["securityContext"]
    assert (context["runAsNonRoot"], context["runAsUser"], context["fsGroup"]) == (True, USER, USER)
    assert context["seccompProfile"] == {"type": "RuntimeDefault"}
    volumes = {volume["name"] for volume in pod["volumes"]}
    for container in (*pod["initContainers"], *pod["containers"]):
        locked = container["securityContext"]
        assert locked["readOnlyRootFilesystem"] is True
        assert locked["allowPrivilegeEscalation"] is False
        assert locked["capabilities"] == {"drop": ["ALL"]}
        assert {"requests", "limits"} == set(container["resources"])
        assert re.fullmatch(r"drillcore-(serve|fetch):\d+\.\d+\.\d+", container["image"]), "no host, no latest"
        mounts = {mount["mountPath"]: mount for mount in container["volumeMounts"]}
        assert {mount["name"] for mount in mounts.values()} <= volumes
        assert {"/state", "/state/served", "/tmp"} <= set(mounts)
    serve = pod["containers"][0]
    (served,) = [mount for mount in serve["volumeMounts"] if mount["mountPath"] == "/state/served"]
    assert served["readOnly"] is True
    assert {"startupProbe", "readinessProbe", "livenessProbe"} <= set(serve)
    assert serve["livenessProbe"]["httpGet"]["path"] == "/v2/health/live"
    seconds = [float(item.partition("=")[2]) for item in serve["args"] if "-seconds=" in item]
    assert sum(seconds) < pod["terminationGracePeriodSeconds"]


def test_manifests_point_at_each_other() -> None:
    deployment, service = named("Deployment"), named("Service")
    labels = deployment["spec"]["template"]["metadata"]["labels"]
    for selector in (
        deployment["spec"]["selector"]["matchLabels"],
        service["spec"]["selector"],
        named("PodDisruptionBudget")["spec"]["selector"]["matchLabels"],
        named("NetworkPolicy")["spec"]["podSelector"]["matchLabels"],
    ):
        assert selector.items() <= labels.items()
    target = named("HorizontalPodAutoscaler")["spec"]
    assert target["scaleTargetRef"]["name"] == deployment["metadata"]["name"]
    containers = {item["name"] for item in deployment["spec"]["template"]["spec"]["containers"]}
    assert target["metrics"][0]["containerResource"]["container"] in containers
    ports = {port["name"] for port in deployment["spec"]["template"]["spec"]["containers"][0]["ports"]}
    assert service["spec"]["ports"][0]["targetPort"] in ports
    assert not [document for _, document in documents() if document["kind"] == "Secret"], "secrets are made, not kept"
