"""`drillcore serve`: models online."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from drillcore.cli.following import following
from drillcore.cli.serving_models import bring
from drillcore.cli.session import begin
from drillcore.errors import InputError
from drillcore.json_types import Json
from drillcore.runtime.model.reference import is_model_file
from drillcore_serving.online.door.auth import read_keys
from drillcore_serving.online.json_lines import start_logs
from drillcore_serving.online.options import MIB, BatchLimits, ServeOptions

Number = TypeVar("Number", int, float)


def _per_model(option: str, values: tuple[str, ...], kind: Callable[[str], Number]) -> dict[str, Number]:
    """Parse `VALUE` (for all, under "") and `MODEL=VALUE`."""
    found: dict[str, Number] = {}
    for text in values:
        name, equals, value = text.rpartition("=")
        try:
            found[name if equals else ""] = kind(value)
        except ValueError:
            raise InputError(f"{option} {text}: a number, or MODEL=number, is expected") from None
    return found


@click.command()
@click.argument("models", metavar="MODEL...", nargs=-1, required=True)
@click.option("--port", default=8080, show_default=True, type=click.IntRange(0, 65535), help="0: any free one.")
@click.option("--host", default="127.0.0.1", show_default=True, help="Beyond loopback only with API keys.")
@click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), default=None, help="Default: DRILLCORE_DEVICE.")
@click.option("--allow-cpu", is_flag=True, help="With --device cuda: the CPU where there is none, said in the log.")
@click.option(
    "--threads", default=0, type=click.IntRange(0), help="CPU threads of one batch; 0: the cores divided by the lanes."
)
@click.option("--lanes", default=0, type=click.IntRange(0), help="Batches of a model at a time; 0: by the cores.")
@click.option("--max-batch", multiple=True, metavar="[MODEL=]N", help="Images of a batch at most; default 32.")
@click.option("--max-delay-ms", multiple=True, metavar="[MODEL=]MS", help="A batch waits so long at most; default 5.")
@click.option(
    "--max-queue", multiple=True, metavar="[MODEL=]N", help="Images that wait at most, else 429; default 256."
)
@click.option("--deadline-ms", default=30_000, show_default=True, type=click.IntRange(1), help="Later is answered 504.")
@click.option("--max-body-mib", default=64, show_default=True, type=click.IntRange(1), help="Of a request.")
@click.option("--max-pixels", default=64_000_000, show_default=True, type=click.IntRange(1), help="Of an image.")
@click.option(
    "--max-pixels-at-work", default=128_000_000, show_default=True, type=click.IntRange(1), help="Of large images."
)
@click.option("--max-requests", default=512, show_default=True, type=click.IntRange(1), help="In work, else 503.")
@click.option(
    "--max-requests-per-client",
    default=0,
    type=click.IntRange(0),
    help="0: half of them; behind a proxy, without keys, all are one client.",
)
@click.option("--max-memory-mib", default=1024, show_default=True, type=click.IntRange(1), help="Of bodies and pixels.")
@click.option(
    "--max-connections", default=1024, show_default=True, type=click.IntRange(1), help="Open; fewer by ulimit -n."
)
@click.option(
    "--max-connections-per-address",
    default=0,
    type=click.IntRange(0),
    help="0: half of them; behind a proxy all come from one.",
)
@click.option(
    "--head-seconds", default=10.0, show_default=True, type=click.FloatRange(0.1), help="For a request's head to come."
)
@click.option(
    "--read-seconds", default=60.0, show_default=True, type=click.FloatRange(0.1), help="For its body to come."
)
@click.option(
    "--send-seconds", default=30.0, show_default=True, type=click.FloatRange(0.1), help="A client takes no answer."
)
@click.option("--idle-seconds", default=30.0, show_default=True, type=click.FloatRange(0.1), help="Between requests.")
@click.option("--api-keys", type=click.Path(path_type=Path), help="File of keys, one a line; also DRILLCORE_API_KEYS.")
@click.option("--cors-origin", multiple=True, metavar="ORIGIN", help="Whose pages may ask; none by default.")
@click.option(
    "--drain-seconds", default=0.0, show_default=True, type=click.FloatRange(0), help="Not ready, still open."
)
@click.option(
    "--stop-seconds", default=60.0, show_default=True, type=click.FloatRange(1), help="To finish what was taken."
)
@click.option("--poll-seconds", default=0.5, show_default=True, type=click.FloatRange(0.01), help="Between two looks.")
@click.option(
    "--sketch-seconds",
    default=60.0,
    show_default=True,
    type=click.FloatRange(0),
    help="Between two writings of what `drillcore drift` compares; 0: nothing is kept.",
)
@click.option("--follow", is_flag=True, help="Run `drillcore fetch --watch` beside it, so that promotions arrive.")
def serve(models: tuple[str, ...], follow: bool, **given: Any) -> None:
    """Serve MODEL[@ALIAS|@VERSION] or FILE.onnx...: a page for people, POST /predict, the Open Inference Protocol.

    An exported file needs no project; it is served under its model's name, and followed when it is replaced.
    What was promoted is fetched first where it is not here. A server follows its pointers: when `drillcore fetch`
    (or --follow) moves one, the new version is opened, warmed up and checked before it answers, and no request fails.
    On SIGTERM what was taken is finished.

    \b
    Example:
      drillcore serve plankton-forest --port 8080
      curl -F file=@copepod.jpg localhost:8080/predict/plankton-forest
      drillcore serve plankton.onnx
    """
    files = [model for model in models if is_model_file(model)]
    settings = begin(anywhere=len(files) == len(models))
    from drillcore_serving.online.server import serve as run

    options = _options(settings.device, settings.max_pixels, given)
    start_logs(settings.log_level)
    named = [model for model in models if model not in files]
    for model in named:
        bring(settings, model)

    def opened(url: str, loaded: list[Any]) -> None:
        names = ", ".join(f"{item.name} version {item.version}" if item.version else item.name for item in loaded)
        click.echo(f"{url} answers for {names}; press Ctrl+C to stop")

    with following(settings, named if follow else ()):
        run(settings, models, options, opened=opened)


def _options(device: str, max_pixels: int, given: Json) -> ServeOptions:
    batches = _per_model("--max-batch", given["max_batch"], int)
    delays = _per_model("--max-delay-ms", given["max_delay_ms"], float)
    queues = _per_model("--max-queue", given["max_queue"], int)
    usual = BatchLimits()

    def limits(name: str) -> BatchLimits:
        return BatchLimits(
            batches.get(name, batches.get("", usual.batch)),
            delays.get(name, delays.get("", usual.delay * 1e3)) / 1e3,
            queues.get(name, queues.get("", usual.queue)),
        )

    return ServeOptions(
        host=given["host"],
        port=given["port"],
        device=given["device"] or device,
        allow_cpu=given["allow_cpu"],
        threads=given["threads"],
        lanes=given["lanes"],
        batching=limits(""),
        per_model={name: limits(name) for name in {*batches, *delays, *queues} - {""}},
        deadline=given["deadline_ms"] / 1e3,
        max_body=given["max_body_mib"] * MIB,
        max_pixels=min(given["max_pixels"], max_pixels),
        max_pixels_at_work=given["max_pixels_at_work"],
        max_requests=given["max_requests"],
        max_requests_per_client=given["max_requests_per_client"],
        max_memory=given["max_memory_mib"] * MIB,
        max_connections=given["max_connections"],
        max_connections_per_address=given["max_connections_per_address"],
        head_seconds=given["head_seconds"],
        read_seconds=given["read_seconds"],
        send_seconds=given["send_seconds"],
        idle_seconds=given["idle_seconds"],
        drain_seconds=given["drain_seconds"],
        stop_seconds=given["stop_seconds"],
        poll_seconds=given["poll_seconds"],
        sketch_seconds=given["sketch_seconds"],
        api_keys=read_keys(given["api_keys"]),
        cors_origins=given["cors_origin"],
    )
