"""A registered version made again from its code, data and recipe, and compared with its file byte for byte.

What is needed stands with the version: the revision in its metadata, data.dvc and the list of images, the recipe, seeds
and numbers of threads. A backbone, or a state learnt without labels, that the version took over from an earlier one is
made first, from that one's data. All of it happens in a folder of its own; the project is not touched.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from drillcore import registry
from drillcore.backbones.catalogue import VERSION
from drillcore.backbones.weights.artifacts import artifacts_folder
from drillcore.backbones.weights.named import weights_folder
from drillcore.digests import sha256_file, sha256_json
from drillcore.errors import InputError, IntegrityError, RegistryError, SignatureError
from drillcore.export.file_difference import file_differences
from drillcore.files import write_json
from drillcore.json_types import Json, Values
from drillcore.registry import ModelVersion
from drillcore.retrain.provenance import UNKNOWN, machine
from drillcore.runtime.model.reference import parse_reference
from drillcore.runtime.model.served import put_blob
from drillcore.settings import PREFIX, Settings
from drillcore.state.leases import hold_lease
from drillcore.upkeep.version_code import LOCK, code_of
from drillcore.upkeep.version_record import VersionRecord
from drillcore.versions import write_out

_WORKER = "drillcore.upkeep.rebuild_stages"
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
    artifacts can be scored again. Where the settings name trusted keys, nothing is run of a version that none of them
    has signed, nor of another recipe, data or code than what was signed with it; a lost file is no hindrance.

    Args:
        settings: where things are.
        reference: MODEL@VERSION, MODEL@ALIAS, or MODEL for its champion.
        output: where the file made again is to be left; None: nowhere.
        tell: told a line as each stage ends.

    Raises:
        UnknownNameError, InputError: no such version.
        SignatureError: keys are trusted, and none of them has signed what would be made again.
        RegistryError: the version knows too little about itself, its code cannot be had, or a stage fails.
        DataError: neither the DVC cache nor the remote has its data.
        LeaseHeldError: somebody else rebuilds it.
    """
    started = time.monotonic()
    wanted = parse_reference(reference)
    version = registry.get_version(settings, wanted.name, registry.resolve_version(settings, wanted))
    with hold_lease(settings, f"rebuild:{version.model}@{version.version}"):
        work = _Rebuild(settings, version, tell)
        try:
            made = work.run()
        except SignatureError:
            shutil.rmtree(work.folder, ignore_errors=True)  # nothing of it is believed the next time
            raise
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
        self.record = VersionRecord.of(settings, version, self.folder)
        self.notes: list[str] = []
        self._made: dict[str, str] = {}  # results of the stages, by name

    def run(self) -> Path:
        """Make what the version took over, then the version; return its file."""
        taken_over = list(self._taken_over())
        for version in (self.version, *(earlier for _, earlier in taken_over)):
            self._require_signed(VersionRecord.of(self.settings, version, self.folder))
        self._compare_machines()
        self._bring_weights()
        for stage, earlier in taken_over:
            self.tell(f"version {earlier.version}, whose {stage} this one took over")
            self._stages(VersionRecord.of(self.settings, earlier, self.folder), until=stage)
        file = self._stages(self.record, until="export")
        assert file is not None, "export tells its file"  # noqa: S101
        return file

    def _require_signed(self, record: VersionRecord) -> None:
        """Refuse a version whose file, recipe, data or code is not what a trusted key has signed, where keys are."""
        if not self.settings.public_keys:
            return
        version = record.version
        stored = self.folder / f"registered-{version.version}.onnx"
        try:
            file: Path | None = registry.download(self.settings, version.model, version.version, stored)
        except (RegistryError, IntegrityError):  # lost, or damaged: to be made again
            file = None
        signed = registry.require_signed(self.settings, version, file)
        assert signed is not None, "there are keys"  # noqa: S101
        known = {
            "recipe": (sha256_json(record.recipe), signed.recipe_sha256),
            "data": (record.digest, signed.data_digest),
            "code": (record.git, signed.git),
        }
        if changed := [name for name, (found, wanted) in known.items() if found != wanted]:
            raise SignatureError(
                f"{record.name} is refused: its {' and '.join(changed)} changed after it was signed; restore the "
                "registry and the artifacts from a backup"
            )

    def differences(self, made: Path) -> list[str]:
        """Return where the file differs from the registered one: first the stages, then the tensors."""
        if sha256_file(made) == self.version.sha256:
            return []
        results = [
            f"{stage}: {(self._made.get(stage) or 'nothing')[:12]}, {wanted[:12]} when it was registered"
            for stage, wanted in self.record.results.items()
            if stage != "export" and wanted and self._made.get(stage) != wanted
        ]
        stored = self.folder / "registered.onnx"
        try:
            registry.download(self.settings, self.version.model, self.version.version, stored)
        except RegistryError as error:
            return [*results, f"the files cannot be compared: {error}"]
        return results + list(file_differences(stored.read_bytes(), made.read_bytes()))[:_SHOWN]

    def _stages(self, record: VersionRecord, *, until: str) -> Path | None:
        """Run the stages of a version's record in its own code; return the file, where there is one."""
        checkout, python, env = code_of(self.settings, record, self.folder, self.tell)
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
            [python, "-m", _WORKER, str(request)], checkout, env | self._environment(checkout, record)
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

    def _environment(self, checkout: Path, record: VersionRecord) -> dict[str, str]:
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
        return found | {f"{PREFIX}{name.upper()}": str(value) for name, value in record.making["settings"].items()}

    def _bring_weights(self) -> None:
        """Let the rebuild read the named weights that are here, and those trained for the version the recipe names."""
        self.state.mkdir(parents=True, exist_ok=True)
        _link(weights_folder(self.settings), self.state / "weights")
        backbone = self.record.recipe["backbone"]
        name, weights = str(backbone["name"]), str(backbone["weights"])
        if match := VERSION.fullmatch(weights):
            weights = "sha256:" + str(
                registry.get_version(self.settings, match[1], int(match[2])).metadata["weights_sha256"]
            )
        if weights.startswith("sha256:"):
            digest = weights.removeprefix("sha256:")
            _link(artifacts_folder(self.settings, name) / digest, self.state / "backbones" / name / digest)

    def _taken_over(self) -> Iterator[tuple[str, ModelVersion]]:
        """Yield the earlier versions whose backbone, or state learnt without labels, the version took over."""
        record = self.record
        known = registry.versions(self.settings, self.version.model)
        earlier = [row for row in reversed(known) if row.version < self.version.version]
        wanted = {"backbone": record.results["backbone"] if record.making["trained"] else None}
        wanted["features"] = record.results["features"]
        for stage, result in wanted.items():
            first = next((row for row in earlier if result and self._result(row, stage) == result), None)
            if first is not None and first.metadata["data_digest"] != record.digest:
                yield stage, first

    def _result(self, version: ModelVersion, stage: str) -> str | None:
        if stage == "backbone":
            return str(version.metadata["weights_sha256"])
        try:
            return VersionRecord.of(self.settings, version, self.folder).results[stage]
        except RegistryError:  # of an earlier release
            return None

    def _compare_machines(self) -> None:
        """Note what the last bits may depend on and is not as it was."""
        here, record = machine(self.settings), self.record
        for name in ("device", "processor", "system"):
            if here[name] != record.machine[name]:
                self.notes.append(f"{name}: {record.machine[name]} then, {here[name]} now")
        if here["device"] != record.machine["device"] and record.machine["device"] == "cuda":
            raise InputError(
                f"{record.name} was made on a CUDA device, and there is none here: rebuild it where one is"
            )
        packages = record.machine["packages"]
        if not (self.settings.root / LOCK).is_file():
            now = here["packages"]
            self.notes += [
                f"{name}: {packages.get(name)} then, {now.get(name)} now"
                for name in _BITS
                if packages.get(name) != now.get(name)
            ]
        if self.version.metadata.get("dirty") and self.version.metadata.get("git") != UNKNOWN:
            self.notes.append("it was made with changes that were not committed: those are not known")


def _link(source: Path, target: Path) -> None:
    if source.is_dir() and not target.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        target.symlink_to(source, target_is_directory=True)
