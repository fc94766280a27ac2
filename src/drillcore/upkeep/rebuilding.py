"""A registered version made again from its code, data and recipe, and compared with its file byte for byte.

What is needed stands with the version: the revision in its metadata, data.dvc and the list of images, the recipe, seeds
and numbers of threads. A backbone, or a state learnt without labels, that the version took over from an earlier one is
made first, from that one's data. All of it happens in a folder of its own; the project is not touched.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from drillcore import registry
from drillcore.backbones.catalogue import VERSION
from drillcore.backbones.weights.artifacts import artifacts_folder
from drillcore.backbones.weights.named import weights_folder
from drillcore.digests import sha256_file
from drillcore.errors import InputError, RegistryError
from drillcore.export.file_difference import file_differences
from drillcore.files import read_object, write_json, write_text
from drillcore.json_types import Json, Values
from drillcore.project import MARKER
from drillcore.registry import ModelVersion
from drillcore.retrain.mlflow_log import MAKING
from drillcore.retrain.provenance import UNKNOWN, machine
from drillcore.runtime.model.reference import parse_reference
from drillcore.runtime.model.served import put_blob
from drillcore.settings import PREFIX, Settings
from drillcore.state.leases import hold_lease
from drillcore.tracking import bring_artifacts
from drillcore.versions import outs_md5, write_out

_WORKER = "drillcore.upkeep.rebuild_stages"
_CODE = "src/drillcore/upkeep/rebuild_stages.py"
_LOCK = "requirements.lock"
_SETTINGS = {"seed": "SEED", "max_pixels": "MAX_PIXELS", "max_side": "MAX_SIDE"}
_BITS = (
    "numpy",
    "scipy",
    "scikit-learn",
    "torch",
    "torchvision",
    "timm",
    "onnx",
    "pillow",
    "opencv-contrib-python-headless",
)
_SHOWN = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Rebuilt:
    """What a rebuild found.

    Attributes:
        model, version: what was made again.
        registered: SHA-256 of the registered file.
        rebuilt: of the file made again.
        differences: where they differ, the first stage first; empty where they are equal.
        notes: what was not as it was when the version was made.
        seconds: it took.
        file: where the file made again was left; None: nowhere.
    """

    model: str
    version: int
    registered: str
    rebuilt: str
    differences: list[str]
    notes: list[str]
    seconds: float
    file: Path | None = None

    @property
    def equal(self) -> bool:
        """Whether the bytes are the same."""
        return self.registered == self.rebuilt

    def to_dict(self) -> Json:
        """Return plain values for JSON."""
        return {
            "model": self.model,
            "version": self.version,
            "equal": self.equal,
            "registered_sha256": self.registered,
            "rebuilt_sha256": self.rebuilt,
            "differences": self.differences,
            "notes": self.notes,
            "seconds": round(self.seconds, 1),
            "file": str(self.file) if self.file else None,
        }


def rebuild(
    settings: Settings, reference: str, *, output: Path | None = None, tell: Callable[[str], None] = lambda text: None
) -> Rebuilt:
    """Make a registered version again and compare it; one that was killed goes on.

    Where the bytes are the same, the file is put among the served models too: a version whose file was lost from the
    artifacts can be scored again.

    Args:
        settings: where things are.
        reference: MODEL@VERSION, MODEL@ALIAS, or MODEL for its champion.
        output: where the file made again is to be left; None: nowhere.
        tell: told a line as each stage ends.

    Raises:
        UnknownNameError, InputError: no such version.
        RegistryError: the version knows too little about itself, its code cannot be had, or a stage fails.
        DataError: neither the DVC cache nor the remote has its data.
        LeaseHeldError: somebody else rebuilds it.
    """
    started = time.monotonic()
    wanted = parse_reference(reference)
    version = registry.get_version(settings, wanted.name, registry.resolve_version(settings, wanted))
    with hold_lease(settings, f"rebuild:{version.model}@{version.version}"):
        work = _Rebuild(settings, version, tell)
        made = work.run()
        found = Rebuilt(
            model=version.model,
            version=version.version,
            registered=version.sha256,
            rebuilt=sha256_file(made),
            differences=work.differences(made),
            notes=work.notes,
            seconds=time.monotonic() - started,
            file=output,
        )
        if found.equal:
            put_blob(settings, made)
        if output is not None:
            output.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(made, output)
        shutil.rmtree(work.folder, ignore_errors=True)
    return found


class _Rebuild:
    """One version made again, in `<state>/rebuild/<model>-<version>`."""

    def __init__(self, settings: Settings, version: ModelVersion, tell: Callable[[str], None]) -> None:
        self.settings, self.version, self.tell = settings, version, tell
        self.folder = settings.state / "rebuild" / f"{version.model}-{version.version}"
        self.state = self.folder / "state"
        self.notes: list[str] = []
        self._made: dict[str, str] = {}  # results of the stages, by name

    def run(self) -> Path:
        """Make what the version took over, then the version; return its file."""
        record = _Record.of(self.settings, self.version, self.folder)
        self._compare_machines(record)
        self._bring_weights(record)
        for stage, earlier in self._taken_over(record):
            self.tell(f"version {earlier.version}, whose {stage} this one took over")
            self._stages(_Record.of(self.settings, earlier, self.folder), until=stage)
        file = self._stages(record, until="export")
        assert file is not None, "export tells its file"  # noqa: S101
        return file

    def differences(self, made: Path) -> list[str]:
        """Return where the file differs from the registered one: first the stages, then the tensors."""
        if sha256_file(made) == self.version.sha256:
            return []
        record = _Record.of(self.settings, self.version, self.folder)
        results = [
            f"{stage}: {(self._made.get(stage) or 'nothing')[:12]}, {wanted[:12]} when it was registered"
            for stage, wanted in record.results.items()
            if stage != "export" and wanted and self._made.get(stage) != wanted
        ]
        stored = self.folder / "registered.onnx"
        try:
            registry.download(self.settings, self.version.model, self.version.version, stored)
        except RegistryError as error:
            return [*results, f"the files cannot be compared: {error}"]
        return results + list(file_differences(stored.read_bytes(), made.read_bytes()))[:_SHOWN]

    def _stages(self, record: _Record, *, until: str) -> Path | None:
        """Run the stages of a version's record in its own code; return the file, where there is one."""
        checkout, python, env = self._code(record)
        data = checkout / "data" / record.dataset
        if not data.is_dir():
            partial = checkout / "data" / f".partial-{record.dataset}"
            shutil.rmtree(partial, ignore_errors=True)
            count = write_out(self.settings, record.dataset, record.data_version(), partial)
            partial.rename(data)
            self.tell(f"data: {count:,} files of {record.dataset}")
        listing = self.state / "manifests" / record.dataset / f"{record.digest}.parquet"
        listing.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(record.manifest, listing)
        request = self.folder / f"request-{record.version.version}.json"
        write_json(request, record.request(until))
        file = None
        for line in self._lines(
            [*python, "-m", _WORKER, str(request)], checkout, env | self._environment(checkout, record)
        ):
            stage, result = str(line["stage"]), str(line["result"])
            if record.version.version == self.version.version:
                self._made[stage] = result
            file = Path(str(line["note"])) if stage == "export" else file
            self.tell(f"{stage}: {result[:12]}" if result else f"{stage}: {line['note']}")
        return file

    def _lines(self, command: list[str], folder: Path, env: Mapping[str, str]) -> Iterator[Values]:
        """Yield what the worker tells, a line of JSON each. Raises RegistryError: it failed; its last line says how."""
        errors = self.folder / "errors.log"
        with (
            errors.open("w", encoding="utf-8") as log,
            subprocess.Popen(
                command, cwd=folder, env=dict(env), stdout=subprocess.PIPE, stderr=log, text=True
            ) as process,
        ):
            try:
                assert process.stdout is not None  # noqa: S101
                for line in process.stdout:
                    yield json.loads(line)
            except BaseException:
                process.terminate()
                raise
            code = process.wait()
        if code:
            said = errors.read_text(encoding="utf-8", errors="replace").strip().splitlines()
            raise RegistryError(
                f"making {self.version.model} again failed: {said[-1] if said else f'exit code {code}'}"
            )

    def _code(self, record: _Record) -> tuple[Path, list[str], dict[str, str]]:
        """Return a folder with the version's code, the Python that runs it, and its environment.

        A project that holds drillcore's own code is cloned at the revision, without a copy of its objects. In any other
        the code is the installed package, which must be of the version's release.
        """
        checkout, env = self.folder / f"checkout-{record.git[:12]}-{record.version.version}", dict(os.environ)
        env.pop("VIRTUAL_ENV", None)
        root = self.settings.root
        if not (root / "src" / "drillcore").is_dir() or record.git == UNKNOWN:
            made_with = str(record.machine.get("drillcore"))
            if made_with != (here := metadata.version("drillcore")):
                raise RegistryError(
                    f"{record.name} was made with drillcore {made_with}, this is {here}: install that release in an "
                    "environment of its own and rebuild from there"
                )
            checkout.mkdir(parents=True, exist_ok=True)
            write_text(checkout / MARKER, "")
            return checkout, [sys.executable], env
        if _git(root, "cat-file", "-e", f"{record.git}:{_CODE}") is None:
            known = _git(root, "cat-file", "-e", record.git) is not None
            why = "cannot rebuild yet" if known else "is not in this repository: git fetch it"
            raise RegistryError(f"{record.name} was made by revision {record.git[:12]}, which {why}")
        if _git(checkout, "rev-parse", "HEAD") != f"{record.git}\n":
            shutil.rmtree(checkout, ignore_errors=True)
            checkout.parent.mkdir(parents=True, exist_ok=True)
            _must(root, "clone", "-q", "--shared", "--no-checkout", str(root), str(checkout))
            _must(checkout, "checkout", "-q", "--detach", record.git)
        python = self._python(checkout, record)
        env["PYTHONPATH"] = str(checkout / "src")
        return checkout, [python], env

    def _python(self, checkout: Path, record: _Record) -> str:
        """Return this Python where the revision locks the same packages, else one with those that it locks."""
        here = self.settings.root / _LOCK
        if not here.is_file() or here.read_bytes() == (checkout / _LOCK).read_bytes():
            return sys.executable
        self.tell(f"environment: the packages that revision {record.git[:12]} locks")
        cache = os.environ.get("UV_CACHE_DIR", str(Path(sys.prefix) / "cache"))
        done = subprocess.run(
            ["make", "-s", "setup", f"PYTHON={sys.executable}", f"UV_CACHE_DIR={cache}"],
            cwd=checkout,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            said = done.stderr.strip().splitlines()
            raise RegistryError(
                f"the packages of revision {record.git[:12]} cannot be installed: {said[-1] if said else ''}"
            )
        return str(checkout / ".venv" / "bin" / "python")

    def _environment(self, checkout: Path, record: _Record) -> dict[str, str]:
        """Return the variables that make the checkout a project whose state is the rebuild's."""
        made = record.machine
        settings = self.settings
        found = {
            "DRILLCORE_ROOT": str(checkout),
            f"{PREFIX}STATE": str(self.state),
            f"{PREFIX}DEVICE": str(made["device"]),
            # MODEL@VERSION names weights by the registry, which is only read.
            f"{PREFIX}TRACKING_URI": settings.resolved_tracking_uri,
            f"{PREFIX}STATE_URL": settings.resolved_state_url,
            "OMP_NUM_THREADS": str(made["omp_num_threads"] or made["cores"]),
        }
        return found | {f"{PREFIX}{name}": str(record.making["settings"][key]) for key, name in _SETTINGS.items()}

    def _bring_weights(self, record: _Record) -> None:
        """Let the rebuild read the named weights that are here, and those trained for the version the recipe names."""
        self.state.mkdir(parents=True, exist_ok=True)
        _link(weights_folder(self.settings), self.state / "weights")
        backbone = record.recipe["backbone"]
        name, weights = str(backbone["name"]), str(backbone["weights"])
        if match := VERSION.fullmatch(weights):
            weights = "sha256:" + str(
                registry.get_version(self.settings, match[1], int(match[2])).metadata["weights_sha256"]
            )
        if weights.startswith("sha256:"):
            digest = weights.removeprefix("sha256:")
            _link(artifacts_folder(self.settings, name) / digest, self.state / "backbones" / name / digest)

    def _taken_over(self, record: _Record) -> Iterator[tuple[str, ModelVersion]]:
        """Yield the earlier versions whose backbone, or state learnt without labels, the version took over."""
        known = registry.versions(self.settings, self.version.model)
        earlier = [row for row in reversed(known) if row.version < self.version.version]
        for stage in ("backbone", "features"):
            result = record.results.get(stage)
            if not result or (stage == "backbone" and not record.making["trained"]):
                continue
            first = next((row for row in earlier if self._result(row, stage) == result), None)
            if first is not None and first.metadata["data_digest"] != record.digest:
                yield stage, first

    def _result(self, version: ModelVersion, stage: str) -> str | None:
        try:
            return _Record.of(self.settings, version, self.folder).results.get(stage)
        except RegistryError:  # of an earlier release
            return None

    def _compare_machines(self, record: _Record) -> None:
        """Note what the last bits may depend on and is not as it was."""
        here = machine(self.settings)
        for name in ("device", "processor", "system"):
            if here[name] != record.machine[name]:
                self.notes.append(f"{name}: {record.machine[name]} then, {here[name]} now")
        if here["device"] != record.machine["device"] and record.machine["device"] == "cuda":
            raise InputError(
                f"{record.name} was made on a CUDA device, and there is none here: rebuild it where one is"
            )
        packages = record.machine["packages"]
        if not (self.settings.root / _LOCK).is_file():
            now = here["packages"]
            self.notes += [
                f"{name}: {packages.get(name)} then, {now.get(name)} now"
                for name in _BITS
                if packages.get(name) != now.get(name)
            ]
        if self.version.metadata.get("dirty") and self.version.metadata.get("git") != UNKNOWN:
            self.notes.append("it was made with changes that were not committed: those are not known")


@dataclass(frozen=True, slots=True)
class _Record:
    """What a version's run logged of its making, in a folder.

    Attributes:
        version: the version.
        folder: the run's artifacts.
        recipe: `recipe.json`.
        making: `making.json`.
    """

    version: ModelVersion
    folder: Path
    recipe: Values
    making: Values

    @classmethod
    def of(cls, settings: Settings, version: ModelVersion, folder: Path) -> _Record:
        """Bring the record of a version below `folder`, once. Raises RegistryError: its run says too little."""
        target = folder / f"record-{version.version}"
        try:
            if not (target / MAKING).is_file():
                target.mkdir(parents=True, exist_ok=True)
                bring_artifacts(settings, version.run_id, target)
            return cls(version, target, read_object(target / "recipe.json"), read_object(target / MAKING))
        except (OSError, ValueError):
            raise RegistryError(
                f"{version.model} version {version.version} was registered by an earlier release, which did not keep "
                "what a rebuild needs (threads, device, packages)"
            ) from None

    @property
    def name(self) -> str:
        """Model and version, for people."""
        return f"{self.version.model} version {self.version.version}"

    @property
    def machine(self) -> Values:
        """Where it was made, and with what."""
        found: Values = self.making["machine"]
        return found

    @property
    def results(self) -> dict[str, str | None]:
        """What each stage left, by digest."""
        found: dict[str, str | None] = self.making["results"]
        return found

    @property
    def git(self) -> str:
        """The revision."""
        return str(self.version.metadata["git"])

    @property
    def dataset(self) -> str:
        """Name of the data set."""
        return str(self.recipe["dataset"]["name"])

    @property
    def digest(self) -> str:
        """Of the list of images."""
        return str(self.version.metadata["data_digest"])

    @property
    def manifest(self) -> Path:
        """The list of images."""
        return self.folder / "data" / f"{self.digest}.parquet"

    def data_version(self) -> str:
        """Return DVC's digest of the data. Raises RegistryError: its data.dvc names none."""
        found = outs_md5((self.folder / "data.dvc").read_text(encoding="utf-8"))
        if found is None:
            raise RegistryError(f"{self.name}: its data.dvc names no version of the data")
        return found

    def request(self, until: str) -> Json:
        """Return what the stages are asked for; the recipe is written as a file, which JSON is too."""
        path = self.folder / f"{self.version.model}.yaml"
        write_json(path, dict(self.recipe))
        return {
            "recipe": str(path),
            "dataset": self.dataset,
            "digest": self.digest,
            "git": self.git,
            "dirty": bool(self.version.metadata["dirty"]),
            "threads": self.making["threads"],
            "until": until,
        }


def _link(source: Path, target: Path) -> None:
    if source.is_dir() and not target.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        target.symlink_to(source, target_is_directory=True)


def _git(folder: Path, *arguments: str) -> str | None:
    if not folder.is_dir():
        return None
    done = subprocess.run(["git", "-C", str(folder), *arguments], capture_output=True, text=True, check=False)
    return done.stdout if done.returncode == 0 else None


def _must(folder: Path, *arguments: str) -> None:
    done = subprocess.run(["git", "-C", str(folder), *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        raise RegistryError(f"git {arguments[0]}: {done.stderr.strip()[:300]}")
