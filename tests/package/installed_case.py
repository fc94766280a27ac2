"""The wheel, installed in environments outside any checkout; packages are those that the tests run with, linked."""

from __future__ import annotations

import contextlib
import importlib.metadata
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import psutil
from distributions import needed

CHECKOUT = Path(__file__).resolve().parents[2]
_OWN = ("DRILLCORE_", "PREFECT_", "MLFLOW_", "DVC_", "XDG_", "PYTHON", "VIRTUAL_ENV", "GIT_")


@dataclass(frozen=True)
class Installed:
    """An environment with the wheel in it.

    Attributes:
        folder: of the environment.
        home: its user's.
        more: environment variables that the user has set.
    """

    folder: Path
    home: Path
    more: Mapping[str, str] = field(default_factory=dict)

    @property
    def env(self) -> dict[str, str]:
        """What a user has in a new terminal."""
        kept = {name: text for name, text in os.environ.items() if not name.startswith(_OWN)}
        return kept | {
            "HOME": str(self.home),
            "PATH": f"{self.folder / 'bin'}:/usr/local/bin:/usr/bin:/bin",
            "DRILLCORE_DEVICE": "cpu",
            "PYTHONDONTWRITEBYTECODE": "1",
            "GIT_CONFIG_NOSYSTEM": "1",
            **self.more,
        }

    def run(self, folder: Path, *words: str, code: int = 0) -> subprocess.CompletedProcess[str]:
        """Run a program of this environment; it must end with `code`."""
        command = [str(self.folder / "bin" / words[0]), *words[1:]]
        done = subprocess.run(command, cwd=folder, env=self.env, capture_output=True, text=True, check=False)
        assert done.returncode == code, f"{words}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
        return done

    @contextlib.contextmanager
    def running(self, folder: Path, *words: str) -> Iterator[subprocess.Popen[str]]:
        """Run `drillcore` with what it starts; nothing of it is left behind."""
        command = [str(self.folder / "bin" / "drillcore"), *words]
        with (folder.parent / "running.log").open("a") as log:
            process = subprocess.Popen(command, cwd=folder, env=self.env, stdout=subprocess.PIPE, stderr=log, text=True)
            try:
                yield process
            finally:
                family = [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
                for one in family:
                    with contextlib.suppress(psutil.NoSuchProcess):
                        one.kill()
                process.communicate()

    @contextlib.contextmanager
    def serving(self, folder: Path, model: str) -> Iterator[httpx.Client]:
        """Serve a model; yields a client of the server."""
        with self.running(folder, "serve", model, "--port", "0") as process:
            assert process.stdout is not None
            address = process.stdout.readline().split(" ")[0]
            with httpx.Client(base_url=address, timeout=120) as client:
                yield client


def build(folder: Path, source: Path, kind: str) -> Path:
    """Build the wheel or the sdist of a source tree. Nothing is fetched for it."""
    command = [sys.executable, "-m", "hatchling", "build", "--target", kind, "--directory", str(folder)]
    subprocess.run(command, cwd=source, check=True, capture_output=True)
    (made,) = folder.glob("*.whl" if kind == "wheel" else "*.tar.gz")
    return made


def install(folder: Path, wheel: Path, extras: str | None) -> Installed:
    """Make an environment with the wheel and what it needs.

    Args:
        folder: empty.
        wheel: to install.
        extras: "serve", for instance: its packages and no others; None: all that the tests have.
    """
    place, home = folder / "env", folder / "home"
    home.mkdir(parents=True)
    (home / ".gitconfig").write_text("[user]\n\tname = somebody\n\temail = somebody@example.org\n")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(place)], check=True)
    (packages,) = (place / "lib").glob("python3*/site-packages")
    if extras is None:
        (packages / "lent.pth").write_text("\n".join(_sites()))
    else:
        for name in needed([f"drillcore[{extras}]"]) - {"drillcore"}:
            _lend(name, packages)
    pip = [sys.executable, "-m", "pip", "--python", str(place / "bin" / "python"), "install", "--quiet"]
    subprocess.run([*pip, "--no-deps", "--no-index", "--force-reinstall", str(wheel)], check=True, capture_output=True)
    return Installed(place, home)


def _sites() -> list[str]:
    return [path for path in sys.path if path.endswith("site-packages")]


def _lend(name: str, packages: Path) -> None:
    found = importlib.metadata.distribution(name)
    for first in {path.parts[0] for path in found.files or () if path.parts[0] not in ("..", "__pycache__")}:
        source, link = Path(str(found.locate_file(first))), packages / first
        if source.exists() and not link.is_symlink():
            link.symlink_to(source)


def until(condition: Callable[[], bool], seconds: float = 300) -> None:
    """Wait until something has happened."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.5)


def listing(folder: Path) -> set[str]:
    """Return what lies in a folder; links are not followed."""
    return {
        str(Path(place, name).relative_to(folder))
        for place, folders, files in os.walk(folder)
        for name in folders + files
    }


def unpack(sdist: Path, folder: Path) -> Path:
    """Unpack a sdist and return its one folder."""
    shutil.unpack_archive(sdist, folder, filter="data")
    (made,) = folder.iterdir()
    return made
