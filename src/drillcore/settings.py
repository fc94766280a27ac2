"""One frozen settings object, passed explicitly and logged with every run.

A field is set in `drillcore.toml`; `DRILLCORE_<FIELD>` in the environment overrides it.
"""

from __future__ import annotations

import base64
import dataclasses
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from drillcore.errors import InputError, UnknownNameError
from drillcore.json_types import Json
from drillcore.project import MARKER, find_root, no_project, read_settings, user_folder

PREFIX = "DRILLCORE_"


def _described(text: str, default: Any) -> Any:
    return field(default=default, metadata={"help": text})


def _secret(text: str) -> Any:
    return field(default="", repr=False, metadata={"help": text, "secret": True})


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Where things are and how much of the machine may be used. Importing or making one touches nothing on disk."""

    root: Path = field(metadata={"help": "the project: drillcore.toml, models/, data.dvc"})
    state: Path = field(metadata={"help": "all of drillcore's own state; default <root>/.drillcore"})
    tracking_uri: str = _described("MLflow tracking and registry; empty: SQLite in the state folder", "")
    state_url: str = _described("SQLAlchemy URL of leases and alias history; empty: SQLite in the state folder", "")
    artifact_root: str = _described("where MLflow keeps artifacts (path or s3://); empty: in the state folder", "")
    dvc_remote: str = _described("URL of the DVC remote; empty: a folder in the state folder", "")
    device: str = _described("auto, cpu or cuda; cuda is an error where there is none", "auto")
    threads: int = _described("CPU threads for computing; 0: all cores, for trainings 1 where that is sooner", 0)
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
    signing_key: str = _described("PEM file of the private key that signs versions as they are registered", "")
    signing_password: str = _secret("of that key; never logged")
    trusted_keys: str = _described(
        "PEM files of public keys, by commas; where there are any, what none of them has signed is refused", ""
    )
    webhook_urls: str = _secret("addresses told of each promotion, rollback and failed run, by spaces; never logged")
    webhook_secret: str = _secret("signs what they are told (HMAC-SHA256); never logged")

    @classmethod
    def load(cls, root: Path | None = None, env: Mapping[str, str] | None = None) -> Settings:
        """Read the settings of a project.

        Args:
            root: the project; None: `DRILLCORE_ROOT`, else the nearest folder from the current one upwards that holds
                `drillcore.toml`.
            env: the environment; None: `os.environ`.

        Raises:
            ProjectError: there is no project here.
            InputError: a value that does not parse or is out of range.
        """
        env = os.environ if env is None else env
        root = root or find_root(env, Path.cwd())
        if root is None:
            raise no_project(Path.cwd())
        return cls._read(root.resolve(), root.resolve() / ".drillcore", env)

    @classmethod
    def load_anywhere(cls, env: Mapping[str, str] | None = None) -> Settings:
        """Read the settings for what needs no project: those of the project here, else of the user's own folder.

        Raises:
            InputError: as `load`.
        """
        env = os.environ if env is None else env
        root = find_root(env, Path.cwd())
        own = user_folder(env).absolute()
        return cls._read(own, own, env) if root is None else cls.load(root, env)

    @classmethod
    def _read(cls, root: Path, state: Path, env: Mapping[str, str]) -> Settings:
        kinds = {item.name: item.type for item in dataclasses.fields(cls) if item.name != "root"}
        values: Json = {"root": root, "state": state}
        for name, value in read_settings(root).items():
            if name not in kinds:
                raise UnknownNameError(f"setting in {root / MARKER}", name, kinds)
            values[name] = _checked(f"{root / MARKER}: {name}", value, kinds[name], root)
        for name, kind in kinds.items():
            if (variable := f"{PREFIX}{name.upper()}") in env:
                values[name] = _parse(variable, env[variable], kind)
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
                f"{PREFIX}STATE to a folder without one, or move the project"
            )
        if min(self.max_pixels, self.max_side) < 1 or self.lease_seconds <= 0:
            raise InputError(f"{PREFIX}MAX_PIXELS, {PREFIX}MAX_SIDE and {PREFIX}LEASE_SECONDS must be positive")
        for url in self.webhooks:
            if not url.startswith(("http://", "https://")) or not url.isascii() or not _is_address(url):
                raise InputError(f"{PREFIX}WEBHOOK_URLS: {url!r} is no address of http:// or https://")
        if self.webhook_secret.startswith("whsec_"):
            try:
                base64.b64decode(self.webhook_secret.removeprefix("whsec_"), validate=True)
            except ValueError:
                raise InputError(f"{PREFIX}WEBHOOK_SECRET begins with whsec_, and what follows is no base64") from None
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
    def private_key(self) -> Path | None:
        """`signing_key`, meant from the root; None: nothing is signed."""
        return self.root / Path(self.signing_key).expanduser() if self.signing_key else None

    @property
    def public_keys(self) -> tuple[Path, ...]:
        """`trusted_keys`, one by one, meant from the root; none: no signature is asked for."""
        names = [name.strip() for name in self.trusted_keys.split(",") if name.strip()]
        return tuple(self.root / Path(name).expanduser() for name in names)

    @property
    def webhooks(self) -> tuple[str, ...]:
        """`webhook_urls`, one by one."""
        return tuple(self.webhook_urls.split())

    @property
    def cpu_threads(self) -> int:
        """`threads`, or the cores this process may use."""
        if self.threads:
            return self.threads
        return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1

    @property
    def measures_threads(self) -> bool:
        """Whether a training tries one thread against all cores; a number that was stated is kept to."""
        return not self.threads and self.cpu_threads > 1

    @property
    def decode_workers(self) -> int:
        """`workers`, or as many as there are cores."""
        return self.workers or self.cpu_threads

    def as_dict(self) -> dict[str, str | int | float]:
        """Return plain values for logging, secrets left out."""
        return {
            item.name: str(value) if isinstance(value := getattr(self, item.name), Path) else value
            for item in dataclasses.fields(self)
            if "secret" not in item.metadata
        }


def _checked(place: str, value: object, kind: object, root: Path) -> object:
    """Return a value of drillcore.toml as its field has it; paths are meant from the project's root."""
    fits: tuple[type, ...] = {"int": (int,), "float": (int, float)}.get(str(kind), (str,))
    if not isinstance(value, fits) or isinstance(value, bool):
        expected = {"int": "a whole number", "float": "a number"}.get(str(kind), "a text in quotes")
        raise InputError(f"{place} is {value!r}; {expected} is expected")
    if kind == "Path":
        return (root / str(value)).resolve()
    return float(str(value)) if kind == "float" else value


def _is_address(url: str) -> bool:
    try:
        return bool(urlsplit(url).hostname)
    except ValueError:
        return False


def _parse(name: str, text: str, kind: object) -> object:
    try:
        if kind == "int":
            return int(text)
        if kind == "float":
            return float(text)
    except ValueError:
        raise InputError(f"{name} is {text!r}; a number is expected") from None
    return Path(text).resolve() if kind == "Path" else text
