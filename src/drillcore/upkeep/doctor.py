"""What a machine and a checkout have and lack: each finding is ok, a warning, or a failure with what to do."""

from __future__ import annotations

import importlib.metadata
import platform
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import psutil

from drillcore import registry, versions
from drillcore.datasets.ingest import landed_datasets
from drillcore.errors import DrillcoreError
from drillcore.extras import missing_extra
from drillcore.recipes import known_models, load_recipe
from drillcore.retrain.records import last_summaries
from drillcore.runtime.model.signatures import check_keys
from drillcore.settings import Settings
from drillcore.state.database import open_state
from drillcore.state.deliveries import WAITING, undelivered
from drillcore.state.leases import current_leases
from drillcore.upkeep.forgetting_records import unfinished

OK, WARNING, FAILURE = "ok", "warning", "failure"
_PACKAGES = (
    "torch",
    "torchvision",
    "onnxruntime-gpu",
    "scikit-learn",
    "mlflow",
    "dvc",
    "prefect",
    "great-expectations",
)
_LOW_DISK, _NO_DISK = 5e9, 5e8  # bytes


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the report."""

    subject: str
    standing: str
    text: str


def examine(settings: Settings) -> list[Finding]:
    """Look at everything; a check that fails itself becomes a finding, so that the others are still told."""
    findings: list[Finding] = []
    for subject, check in _CHECKS.items():
        try:
            findings += [Finding(subject, standing, text) for standing, text in check(settings)]
        except ModuleNotFoundError as error:
            findings.append(Finding(subject, WARNING, missing_extra(error) or str(error)))
        except (DrillcoreError, OSError) as error:
            findings.append(Finding(subject, FAILURE, " ".join(str(error).split())))
    return findings


def _python(_settings: Settings) -> Iterator[tuple[str, str]]:
    yield OK, f"Python {platform.python_version()} on {platform.system()} {platform.machine()}"


def _packages(_settings: Settings) -> Iterator[tuple[str, str]]:
    for name in _PACKAGES:
        try:
            yield OK, f"{name} {importlib.metadata.version(name)}"
        except importlib.metadata.PackageNotFoundError:
            yield WARNING, f"{name} is not installed; training needs the extra `train`"


def _cores(settings: Settings) -> Iterator[tuple[str, str]]:
    memory = psutil.virtual_memory()
    total, free = memory.total / 1e9, memory.available / 1e9
    yield OK, f"{settings.cpu_threads} CPU threads, {total:.0f} GB of memory, {free:.0f} GB of it free"


def _gpu(settings: Settings) -> Iterator[tuple[str, str]]:
    import onnxruntime

    try:
        import torch
    except ImportError:
        found = "torch is not installed"
    else:
        there = torch.cuda.is_available()
        found = torch.cuda.get_device_name(0) if there else ""
    providers = [name.removesuffix("ExecutionProvider") for name in onnxruntime.get_available_providers()]
    if found:
        yield OK, f"{found}; onnxruntime offers {', '.join(providers)}"
    elif settings.device == "cuda":
        yield FAILURE, "DRILLCORE_DEVICE is cuda and there is no CUDA device; use auto or cpu"
    else:
        yield OK, "no CUDA device: everything runs on the CPU"


def _disk(settings: Settings) -> Iterator[tuple[str, str]]:
    folder = settings.state if settings.state.exists() else settings.root
    free = shutil.disk_usage(folder).free
    text = f"{free / 1e9:.1f} GB free for {folder}"
    if free < _NO_DISK:
        yield FAILURE, f"{text}; drillcore gc --dry-run says what may go"
    else:
        yield (WARNING, f"{text}, which is little") if free < _LOW_DISK else (OK, text)


def _signing(settings: Settings) -> Iterator[tuple[str, str]]:
    check_keys(settings)
    if settings.private_key:
        yield OK, f"versions are signed with {settings.private_key}"
        if not settings.public_keys:
            yield WARNING, "nobody asks for the signatures: `trusted_keys` names no key"
    if settings.public_keys:
        names = ", ".join(key.name for key in settings.public_keys)
        yield OK, f"what is fetched, scored and served must be signed by {names}"


def _state(settings: Settings) -> Iterator[tuple[str, str]]:
    database = open_state(settings)
    yield OK, f"state database at {database.url}"
    for name, holder, _expires in current_leases(database):
        yield WARNING, f"{name} is held by {holder}"
    for one in undelivered(database):
        known = f"{one.host} is not told of {one.what}"
        again = "it is tried again at the next promotion or failure, or by a watcher"
        when = again if one.status == WAITING else one.status
        yield WARNING, f"{known}: {one.error or 'not tried yet'}; {one.tries} tries; {when}"


def _registry(settings: Settings) -> Iterator[tuple[str, str]]:
    names = registry.asked_names(settings)
    yield OK, f"MLflow answers at {settings.shown_tracking_uri}: {len(names)} models"
    lost = registry.lost_moves(settings)
    for text in lost:
        yield FAILURE, text
    if not lost and not settings.tracking_uri:  # another server has other versions
        yield from _forgotten(settings, names)
    for move in registry.adopted_moves(settings):
        text = f"begins on {move.when[:10]} with version {move.version}, taken over from MLflow: moves before are lost"
        yield WARNING, f"the history of {move.model}@{move.alias} {text}"
    for name in names if not lost else ():
        for move in registry.reconcile(settings, name, adopt=False):
            yield WARNING, f"{name}@{move.alias} did not point at version {move.version}; mended"


def _forgotten(settings: Settings, names: list[str]) -> Iterator[tuple[str, str]]:
    """Look for versions that retrains of this checkout have registered and neither database knows any more."""
    for summary in last_summaries(settings):
        model, version, sha256 = summary["model"], summary["version"], summary["model_sha256"]
        if model in names and any(row.sha256 == sha256 for row in registry.versions(settings, model)):
            continue
        told = f"{model} version {version} ({sha256[:12]}) was registered here; neither MLflow nor the history knows it"
        yield FAILURE, f"{told}: both databases were lost; restore them, or retrain {model}, which registers it anew"


def _data(settings: Settings) -> Iterator[tuple[str, str]]:
    if left := unfinished(settings):
        yield FAILURE, f"{len(left)} images are not forgotten yet: drillcore data forget {min(left)} --yes goes on"
    names = landed_datasets(settings)
    if not names:
        yield WARNING, "no data set yet; drillcore data sample, or drillcore data import"
        return
    yield OK, f"data sets: {', '.join(names)}"
    if edits := [edit for name in names for edit in versions.hand_edits(settings, name)]:
        text = f"{len(edits)} files changed by hand under data/, for instance {edits[0]}"
        yield FAILURE, f"{text}; import them instead"
    yield OK, f"the DVC remote answers: {versions.check_remote(settings)}"


def _recipes(settings: Settings) -> Iterator[tuple[str, str]]:
    names = known_models(settings)
    for name in names:
        try:
            load_recipe(settings, name)
        except DrillcoreError as error:
            yield FAILURE, str(error)
    yield OK, f"recipes: {', '.join(names) or 'none'}"


_CHECKS: dict[str, Callable[[Settings], Iterator[tuple[str, str]]]] = {
    "python": _python,
    "packages": _packages,
    "machine": _cores,
    "gpu": _gpu,
    "disk": _disk,
    "recipes": _recipes,
    "signing": _signing,
    "state": _state,
    "registry": _registry,
    "data": _data,
}
