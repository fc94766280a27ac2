"""What a registered version's run logged of its making: recipe, data, threads, machine, and what each stage left."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from drillcore.errors import RegistryError
from drillcore.files import atomic_folder, read_object, write_json
from drillcore.json_types import Json, Values
from drillcore.registry import ModelVersion
from drillcore.retrain.mlflow_log import MAKING
from drillcore.settings import Settings
from drillcore.tracking import bring_artifacts
from drillcore.versions import outs_md5

_NEEDED = ("recipe.json", MAKING, "data.dvc", "data")


@dataclass(frozen=True, slots=True)
class VersionRecord:
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
    def of(cls, settings: Settings, version: ModelVersion, folder: Path) -> VersionRecord:
        """Bring the record of a version below `folder`, once. Raises RegistryError: its run says too little."""
        target = folder / f"record-{version.version}"
        try:
            if not target.is_dir():
                with atomic_folder(target) as partial:
                    bring_artifacts(settings, version.run_id, partial, _NEEDED)
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
