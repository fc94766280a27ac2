"""Images, compose and Kubernetes without an engine: schemas, structure, and what an image would lack."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import io
import json
import os
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import httpx
import pytest
import yaml
from PIL import Image

from drillcore.settings import Settings

sys.path.insert(0, str(Path(__file__).resolve().parent / "serving"))
import scoring_case

CHECKOUT = Path(__file__).resolve().parents[1]
DEPLOY, SERVING = CHECKOUT / "deploy", CHECKOUT / "serving"
MANIFESTS = sorted(path for path in (DEPLOY / "kubernetes").glob("*.yaml") if path.name != "kustomization.yaml")
USER = 10001
FORBIDDEN = ("torch", "torchvision", "scikit-learn", "mlflow", "mlflow-skinny", "prefect", "dvc", "great-expectations")
HARMLESS = {"drillcore", "pip", "setuptools", "wheel"}

# ---- requirements


@pytest.fixture(scope="module")
def deriving() -> ModuleType:
    spec = importlib.util.spec_from_file_location("derive_requirements", DEPLOY / "derive_requirements.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def pinned(variant: str) -> dict[str, str]:
    """Versions by name in one of the derived files; every pin has hashes."""
    text = (SERVING / f"requirements-{variant}.txt").read_text()
    blocks = re.split(r"\n(?=[A-Za-z0-9])", text.partition("\n")[2].strip())
    assert all("--hash=sha256:" in block for block in blocks)
    return dict(re.match(r"([^=\[]+)==([^ ]+)", block).groups() for block in blocks)  # type: ignore[union-attr]


def needed(roots: list[str]) -> set[str]:
    """Distributions that requirements bring on this machine, by what is installed: another way than the lock's."""
    from packaging.requirements import Requirement
    from packaging.utils import canonicalize_name

    found: dict[str, set[str]] = {}
    waiting = [Requirement(root) for root in roots]
    while waiting:
        wanted = waiting.pop()
        name = canonicalize_name(wanted.name)
        if name in found and wanted.extras <= found[name]:
            continue
        found[name] = found.get(name, set()) | wanted.extras
        for text in importlib.metadata.requires(name) or []:
            more = Requirement(text)
            extras = found[name] or {""}
            if more.marker is None or any(more.marker.evaluate({"extra": extra}) for extra in extras):
                waiting.append(more)
    return set(found)


def test_requirements_are_those_of_the_lock(deriving: ModuleType) -> None:
    made = deriving.derive((CHECKOUT / "pyproject.toml").read_text(), (CHECKOUT / "requirements.lock").read_text())
    for name, content in made.items():
        assert (CHECKOUT / name).read_text() == content, f"{name}: run python deploy/derive_requirements.py"
    with pytest.raises(ValueError, match="absent"):
        deriving.derive('[project]\ndependencies = ["absent"]\noptional-dependencies = {serve = []}', "a==1\n")


def test_an_image_lacks_nothing_and_holds_nothing_that_trains() -> None:
    if not sys.platform.startswith("linux"):
        pytest.skip("the images are Linux")
    cuda, cpu, fetch = (pinned(variant) for variant in ("cuda", "cpu", "fetch"))
    serve = needed(["drillcore[serve]"]) - HARMLESS
    assert serve <= set(cuda)
    assert {name for name in serve if not name.startswith("nvidia-")} <= set(cpu)
    assert not any(name.startswith("nvidia-") for name in cpu)
    everything = needed(["drillcore", "mlflow", "boto3"]) - HARMLESS
    assert {name for name in everything if not name.startswith("nvidia-")} <= set(fetch)
    for name in FORBIDDEN:
        assert name not in cuda
        assert name not in cpu
    assert not {"torch", "torchvision", "prefect", "dvc"} & set(fetch)


# Hides what an image does not hold, then runs the command.
PROGRAM = """
import importlib.abc, importlib.metadata, json, sys

held = set(json.loads(sys.argv.pop(1)))
owners = importlib.metadata.packages_distributions()

class Absent(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        by = {owner.lower().replace("_", "-") for owner in owners.get(name.partition(".")[0], ())}
        if by and not by & held:
            raise ModuleNotFoundError(f"not in the image: {name}", name=name)

sys.meta_path.insert(0, Absent())
from drillcore.cli import main
sys.argv[0] = "drillcore"
main()
"""


def test_a_server_runs_with_what_its_image_holds(settings: Settings) -> None:
    scoring_case.serve_tiny(settings)
    held = json.dumps([*pinned("cpu"), "drillcore"])
    command = [sys.executable, "-c", PROGRAM, held, "serve", "tiny", "--port", "0"]
    env = {**os.environ, "DRILLCORE_ROOT": str(settings.root), "DRILLCORE_THREADS": "1", "DRILLCORE_WORKERS": "1"}
    process = subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        url = process.stdout.readline().split(" ")[0]
        assert url.startswith("http"), process.communicate()[1]
        stream = io.BytesIO()
        Image.new("L", (9, 7), 200).save(stream, "PNG")
        files = {"file": ("level.png", stream.getvalue())}
        assert httpx.post(f"{url}/predict/tiny", files=files).json()["images"][0]["label"]
        for path in ("/", "/docs", "/metrics", "/api/models", "/v2/health/ready"):
            assert httpx.get(url + path).status_code == 200
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=30)
        assert process.returncode == 0
    finally:
        process.kill()
        process.communicate()


# ---- Dockerfile


def instructions() -> list[tuple[str, str]]:
    """Instructions of the Dockerfile with their continued lines joined."""
    text = re.sub(r"(?m)^\s*#.*\n", "", (SERVING / "Dockerfile").read_text()).replace("\\\n", " ")
    return [(line.split(None, 1)[0], line.split(None, 1)[1].strip()) for line in text.splitlines() if line.strip()]


def stages() -> dict[str, list[tuple[str, str]]]:
    """Instructions by stage; a stage begins with all of those it is made from."""
    found: dict[str, list[tuple[str, str]]] = {}
    name = ""
    for word, rest in instructions():
        if word == "FROM":
            source, _, name = rest.partition(" AS ")
            found[name] = list(found.get(source, []))
        found.setdefault(name, []).append((word, rest))
    return found


def test_the_dockerfile_keeps_to_the_rules() -> None:
    known = set()
    for word, rest in instructions():
        assert word in {"FROM", "ENV", "RUN", "WORKDIR", "COPY", "ARG", "USER", "VOLUME", "EXPOSE", "STOPSIGNAL"} | {
            "HEALTHCHECK",
            "ENTRYPOINT",
            "CMD",
        }, f"{word}: ADD, MAINTAINER, SHELL, ONBUILD and LABEL have no place here"
        if word == "FROM":
            image, _, name = rest.partition(" AS ")
            assert name, "every stage has a name"
            assert image in known or re.fullmatch(r"[a-z-]+:\d+\.\d+\.\d+-[a-z-]+", image), (
                f"{image}: a full tag, no host"
            )
            known.add(name)
        if word in ("ENTRYPOINT", "CMD"):
            assert isinstance(json.loads(rest), list), "the exec form: signals reach the process"
        if word == "WORKDIR":
            assert rest.startswith("/")
        if word == "RUN":
            assert "sudo" not in rest
            assert not re.search(r"\b(curl|wget)\b", rest)
            for command in re.findall(r"pip (?:install|wheel)[^&;]*", rest):
                assert "--no-cache-dir" in command
                assert "--require-hashes" in command or "/wheel" in command or "$DATABASE_DRIVER" in command
        if word in ("ARG", "ENV"):
            assert not re.search(r"(?i)password|secret|token|key", rest)
    assert instructions()[0][0] == "FROM"


@pytest.mark.parametrize("stage", ["serve", "fetch"])
def test_an_image_runs_as_a_user_without_rights(stage: str) -> None:
    own = stages()[stage]
    users = [rest for word, rest in own if word == "USER"]
    assert users == [f"{USER}:{USER}"]
    after = own[own.index(("USER", users[0])) :]
    assert not [word for word, _ in after if word in ("RUN", "COPY")]
    assert ("VOLUME", '["/state"]') in own
    assert not [rest for word, rest in own if word == "RUN" and "pip" in rest], "built in another stage"
    assert list(stages())[-1] == "serve"
    if stage == "serve":
        (check,) = [rest for word, rest in own if word == "HEALTHCHECK"]
        assert "/v2/health/ready" in check
        compile(json.loads(check.partition("CMD ")[2])[2], "healthcheck", "exec")


def test_what_is_copied_is_there_and_is_sent_to_the_builder() -> None:
    kept = {line[1:] for line in (SERVING / "Dockerfile.dockerignore").read_text().splitlines() if line.startswith("!")}
    for word, rest in instructions():
        if word == "COPY" and not rest.startswith("--from"):
            for source in shlex.split(rest)[:-1]:
                for variant in ("cpu", "cuda") if "$" in source else ("",):
                    path = source.replace("${REQUIREMENTS}", variant)
                    assert (CHECKOUT / path).exists(), path
                    assert path.partition("/")[0] in kept, f"{path} is not sent to the builder"


def test_the_wheel_would_hold_the_page() -> None:
    import tomllib

    wheel = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]["wheel"]
    assert "serving" in wheel["packages"]
    assert not {"exclude", "only-include", "include"} & set(wheel)
    ignored = subprocess.run(
        ["git", "check-ignore", *map(str, (SERVING / "online" / "page").iterdir())],
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ignored.stdout == "", "hatchling leaves out what git ignores"


# ---- Kubernetes


def documents() -> Iterator[tuple[str, dict[str, Any]]]:
    for path in MANIFESTS:
        for document in yaml.safe_load_all(path.read_text()):
            yield path.name, document


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


def named(kind: str) -> dict[str, Any]:
    (found,) = [document for _, document in documents() if document["kind"] == kind]
    return found


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


# ---- Compose

SERVICE_KEYS = {
    "restart", "init", "read_only", "user", "cap_drop", "security_opt", "tmpfs", "logging", "image", "build", "command",
    "environment", "volumes", "healthcheck", "deploy", "secrets", "depends_on", "ports", "stop_grace_period",
}  # fmt: skip
PARTS = {
    "build": {"context", "dockerfile", "target", "args"},
    "healthcheck": {"test", "interval", "timeout", "start_period", "retries"},
    "logging": {"driver", "options"},
    "deploy": {"resources"},
}


def compose(name: str = "compose.yaml") -> dict[str, Any]:
    text = (DEPLOY / name).read_text()
    found: dict[str, Any] = yaml.safe_load(text)
    return found


def test_compose_has_known_keys_of_known_kinds() -> None:
    whole = compose()
    assert {key for key in whole if not key.startswith("x-")} == {"name", "services", "secrets", "volumes"}
    for name, service in whole["services"].items():
        assert set(service) <= SERVICE_KEYS, name
        for part, keys in PARTS.items():
            assert set(service.get(part, {})) <= keys, (name, part)
        assert all(isinstance(word, str) for word in service["command"])
        assert all(isinstance(value, str) for value in service["environment"].values())
        assert service["healthcheck"]["test"][0] == "CMD"
        compile(service["healthcheck"]["test"][3], "healthcheck", "exec")
        assert re.fullmatch(r"\d+s", service["healthcheck"]["interval"])
        for mount in service["volumes"]:
            volume, target, *mode = mount.split(":")
            assert volume in whole["volumes"]
            assert target.startswith("/state")
            assert mode in ([], ["ro"])
        assert set(service.get("secrets", [])) <= set(whole["secrets"])
        assert set(service.get("depends_on", {})) <= set(whole["services"])
        assert service["build"]["target"] in stages()
        assert (DEPLOY / service["build"]["context"] / service["build"]["dockerfile"]).resolve().is_file()
    over = compose("compose.cuda.yaml")
    assert set(over["services"]) <= set(whole["services"])
    assert set(over["services"]["serve"]) <= SERVICE_KEYS


def test_containers_of_compose_are_locked_down() -> None:
    services = compose()["services"]
    for name, service in services.items():
        assert service["read_only"] is True
        assert service["user"] == f"{USER}:{USER}"
        assert service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]
        assert re.match(rf"drillcore-{name}:\$\{{", service["image"]), "no host"
        assert set(service["deploy"]["resources"]["limits"]) == {"cpus", "memory"}
    serve = services["serve"]
    assert "served:/state/served:ro" in serve["volumes"]
    assert serve["depends_on"] == {"fetch": {"condition": "service_healthy"}}
    (port,) = serve["ports"]
    assert port.startswith("${DRILLCORE_ADDRESS:-127.0.0.1}")
    seconds = [float(item.partition("=")[2]) for item in serve["command"] if "-seconds=" in item]
    assert sum(seconds) < float(serve["stop_grace_period"].rstrip("s"))


def test_variables_without_a_default_are_in_the_example() -> None:
    given = {line.partition("=")[0] for line in (DEPLOY / "env.example").read_text().splitlines() if "=" in line}
    asked = re.findall(r"\$\{(\w+)(:\?|:-)?", (DEPLOY / "compose.yaml").read_text())
    assert {name for name, kind in asked if kind != ":-"} <= given
    assert "api-keys" in (DEPLOY / ".gitignore").read_text()


# ---- commands


def started() -> Iterator[list[str]]:
    pod = named("Deployment")["spec"]["template"]["spec"]
    for container in (*pod["initContainers"], *pod["containers"]):
        yield container["args"]
    for service in compose()["services"].values():
        yield service["command"]
    for stage in ("serve", "fetch"):
        yield json.loads(stages()[stage][-1][1])


def test_commands_that_are_started_exist() -> None:
    from drillcore.cli.root import cli

    for words in started():
        command = cli.get_command(None, words[0])  # type: ignore[arg-type]
        assert command is not None, words
        known = {option: item for item in command.params for option in item.opts} | {"--help": None}
        for word in words[1:]:
            assert not word.startswith("--") or word.partition("=")[0] in known, word


def test_no_registry_host_and_no_secret_stands_in_a_file() -> None:
    texts = [path for path in DEPLOY.rglob("*") if path.is_file()] + [SERVING / "Dockerfile"]
    for path in texts:
        text = path.read_text()
        assert not re.search(r"(?i)(docker|ghcr|quay|gcr|nvcr|azurecr|ecr)[\w.-]*\.(io|com)\b", text), path.name
        for value in re.findall(r"(?m)^\s*(?:AWS_SECRET_ACCESS_KEY|\w*PASSWORD|\w*TOKEN)[ \t]*[=:][ \t]*(\S+)", text):
            assert value.startswith("${"), (path.name, value)
