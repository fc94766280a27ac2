"""Images without an engine: what they would hold and lack, and the rules of their Dockerfile."""

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
from types import ModuleType

import httpx
import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from deploy_case import CHECKOUT, DEPLOY, SERVING, USER, instructions, stages
from distributions import needed
from PIL import Image
from scoring_case import serve_tiny

from drillcore.settings import Settings

FORBIDDEN = ("torch", "torchvision", "scikit-learn", "mlflow", "mlflow-skinny", "prefect", "dvc", "great-expectations")
HARMLESS = {"drillcore", "pip", "setuptools", "wheel"}


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


def test_requirements_are_those_of_the_lock(deriving: ModuleType) -> None:
    made = deriving.derive((CHECKOUT / "pyproject.toml").read_text(), (CHECKOUT / "requirements.lock").read_text())
    for name, content in made.items():
        assert (CHECKOUT / name).read_text() == content, f"{name}: run python deploy/derive_requirements.py"
    with pytest.raises(ValueError, match="absent"):
        deriving.derive('[project]\ndependencies = ["absent"]\noptional-dependencies = {serve = []}', "a==1\n")


@pytest.mark.parametrize("variant", ["cpu", "cuda", "fetch"])
def test_an_image_s_bill_of_materials_is_what_it_pins(variant: str) -> None:
    text = (SERVING / f"sbom-{variant}.cdx.json").read_text()
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(text) is None
    listed = {item["name"]: item["version"] for item in json.loads(text)["components"]}
    assert listed == pinned(variant)


def test_an_image_lacks_nothing_and_holds_nothing_that_trains() -> None:
    if not sys.platform.startswith("linux"):
        pytest.skip("the images are Linux")
    cuda, cpu, fetch = (pinned(variant) for variant in ("cuda", "cpu", "fetch"))
    serve = needed(["drillcore[serve,cuda]"]) - HARMLESS
    assert serve <= set(cuda)
    assert {name for name in serve if not name.startswith("nvidia-")} <= set(cpu)
    assert not any(name.startswith("nvidia-") for name in cpu)
    everything = needed(["drillcore[postgres]", "mlflow", "boto3"]) - HARMLESS
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
    serve_tiny(settings)
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
        process.communicate(timeout=60)
        assert process.returncode == 0
    finally:
        process.kill()
        process.communicate()


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
                assert "--require-hashes" in command or "/wheel" in command
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


def test_what_is_linked_from_the_sources_is_copied_for_the_wheel() -> None:
    copied = {source for word, rest in stages()["wheel"] if word == "COPY" for source in shlex.split(rest)[:-1]}
    links = [path for path in (CHECKOUT / "src").rglob("*") if path.is_symlink()]
    assert links
    for link in links:
        assert link.resolve().relative_to(CHECKOUT).parts[0] in copied, link


def test_the_wheel_would_hold_the_page() -> None:
    ignored = subprocess.run(
        ["git", "check-ignore", *map(str, (SERVING / "online" / "page").iterdir())],
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ignored.stdout == "", "hatchling leaves out what git ignores"
