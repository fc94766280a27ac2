"""One frozen settings object, passed explicitly and logged with every run; `DRILLCORE_<FIELD>` overrides a field."""

from __future__ import annotations

import dataclasses
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from drillcore.errors import InputError
from drillcore.json_types import Json

PREFIX = "DRILLCORE_"


def _described(text: str, default: Any) -> Any:
    return field(default=default, metadata={"help": text})


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Where things are and how much of the machine may be used. Importing or making one touches nothing on disk."""

    root: Path = field(metadata={"help": "the checkout: models/, pipelines/, data.dvc"})
    state: Path = field(metadata={"help": "all of drillcore's own state; default <root>/.drillcore"})
    tracking_uri: str = _described("MLflow tracking and registry; empty: SQLite in the state folder", "")
    state_url: str = _described("SQLAlchemy URL of leases and alias history; empty: SQLite in the state folder", "")
    artifact_root: str = _described("where MLflow keeps artifacts (path or s3://); empty: in the state folder", "")
    dvc_remote: str = _described("URL of the DVC remote; empty: a folder in the state folder", "")
    device: str = _described("auto, cpu or cuda; cuda is an error where there is none", "auto")
    threads: int = _described("CPU threads for computing; 0: all cores", 0)
    workers: int = _described("processes or threads that decode images; 0: all cores", 0)
    max_pixels: int = _described("images of more pixels are set aside before they are decoded", 200_000_000)
    max_side: int = _described("images of more rows or columns are set aside likewise", 65_500)
    list_hosts: str = _described(
        "hosts and buckets that URLs of a list may name, by commas; * and ? stand for any", "*"
    )
    inbox_patience_seconds: float = _described(
        "an image in an inbox that ends too early waits, until so long unchanged", 300.0
    )
    quarantine_limit: float = _described("share of bad images above which a data set is refused", 0.05)
    shrink_limit: float = _described("share of images that may vanish before an update is refused", 0.2)
    lease_seconds: float = _described("a lease not renewed for this long is taken over", 120.0)
    seed: int = _described("seed of what no recipe seeds", 0)
    log_level: str = _described("level of the log file", "INFO")

    @classmethod
    def load(cls, root: Path | None = None, env: Mapping[str, str] | None = None) -> Settings:
        """Read the settings for a checkout.

        Args:
            root: the checkout; None: `DRILLCORE_ROOT`, else the nearest folder above the current one that holds
                `models/` and `data.dvc`, else the checkout this package was installed from.
            env: the environment; None: `os.environ`.

        Raises:
            InputError: a variable that does not parse or is out of range.
        """
        env = os.environ if env is None else env
        root = (root or (Path(env[f"{PREFIX}ROOT"]) if f"{PREFIX}ROOT" in env else _find_root())).resolve()
        values: Json = {"root": root, "state": root / ".drillcore"}
        for item in dataclasses.fields(cls):
            name = f"{PREFIX}{item.name.upper()}"
            if item.name != "root" and name in env:
                values[item.name] = _parse(name, env[name], item.type)
        settings = cls(**values)
        settings._validate()
        return settings

    def _validate(self) -> None:
        if self.device not in ("auto", "cpu", "cuda"):
            raise InputError(f"{PREFIX}DEVICE is {self.device!r}; allowed: auto, cpu, cuda")
        for name in ("quarantine_limit", "shrink_limit"):
            if not 0 <= getattr(self, name) <= 1:
                raise InputError(f"{PREFIX}{name.upper()} is {getattr(self, name)}; a share from 0 to 1 is expected")
        for name in ("threads", "workers"):
            if getattr(self, name) < 0:
                raise InputError(f"{PREFIX}{name.upper()} is {getattr(self, name)}; 0 (all cores) or more is expected")
        if "?" in str(self.state):
            raise InputError(
                f"the state folder {self.state} has a ? in its name, which the addresses of databases cannot hold; set "
                f"{PREFIX}STATE to a folder without one, or move the checkout"
            )
        if min(self.max_pixels, self.max_side) < 1 or self.lease_seconds <= 0:
            raise InputError(f"{PREFIX}MAX_PIXELS, {PREFIX}MAX_SIDE and {PREFIX}LEASE_SECONDS must be positive")
        if not self.inbox_patience_seconds >= 0:
            raise InputError(f"{PREFIX}INBOX_PATIENCE_SECONDS is {self.inbox_patience_seconds}; 0 or more is expected")

    def decoding(self, value_range: tuple[float, float] | None = None) -> Json:
        """Return how images are decoded, as arguments of `runtime.decode`: limits, and a model's range."""
        return {"max_pixels": self.max_pixels, "max_side": self.max_side, "value_range": value_range}

    @property
    def data(self) -> Path:
        """The versioned data, one folder per data set."""
        return self.root / "data"

    @property
    def landing(self) -> Path:
        """The landing zone: imports write here, `dvc update` brings it to `data`."""
        return self.state / "landing"

    @property
    def manifests(self) -> Path:
        """`<dataset>/<digest>.parquet`."""
        return self.state / "manifests"

    @property
    def models(self) -> Path:
        """The recipes."""
        return self.root / "models"

    @property
    def served(self) -> Path:
        """Pointers and blobs that `fetch` brings and `score` and `serve` read."""
        return self.state / "served"

    @property
    def resolved_tracking_uri(self) -> str:
        """MLflow's URI with the default filled in."""
        return self.tracking_uri or f"sqlite:///{self.state / 'mlflow.db'}"

    @property
    def resolved_state_url(self) -> str:
        """The state database's URL with the default filled in."""
        return self.state_url or f"sqlite:///{self.state / 'state.db'}"

    @property
    def shown_tracking_uri(self) -> str:
        """MLflow's URI without a password, for people and logs."""
        return re.sub(r"(?<=//)([^:/@]*):[^@/]*@", r"\1:***@", self.resolved_tracking_uri)

    @property
    def hosts_of_lists(self) -> tuple[str, ...]:
        """`list_hosts` as patterns in lower case."""
        return tuple(name.strip().lower() for name in self.list_hosts.split(",") if name.strip())

    @property
    def cpu_threads(self) -> int:
        """`threads`, or the cores this process may use."""
        if self.threads:
            return self.threads
        return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1

    @property
    def decode_workers(self) -> int:
        """`workers`, or as many as there are cores."""
        return self.workers or self.cpu_threads

    def as_dict(self) -> dict[str, str | int | float]:
        """Return plain values for logging."""
        return {
            item.name: str(value) if isinstance(value := getattr(self, item.name), Path) else value
            for item in dataclasses.fields(self)
        }


def _find_root() -> Path:
    here = Path.cwd().resolve()
    for folder in (here, *here.parents):
        if (folder / "models").is_dir() and (folder / "data.dvc").is_file():
            return folder
    return Path(__file__).resolve().parents[2]


def _parse(name: str, text: str, kind: object) -> object:
    try:
        if kind == "int":
            return int(text)
        if kind == "float":
            return float(text)
    except ValueError:
        raise InputError(f"{name} is {text!r}; a number is expected") from None
    return Path(text).resolve() if kind == "Path" else text
