"""compose.yaml without an engine; and what all of the deployment must keep to."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

from deploy_case import DEPLOY, SERVING, USER, compose, named, stages

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
