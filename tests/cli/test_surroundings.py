"""Where a command may find itself: users without a name or home, outputs that lack letters, folders with odd names."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from drillcore.errors import InputError
from drillcore.runtime.model.served import put_blob, write_pointer
from drillcore.settings import Settings
from drillcore.state import open_state
from drillcore.tracking.connection import artifact_location, mlflow_client

NOBODY = 123456  # a number without an entry in the system's list of users


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that every user of the machine may enter; pytest's own are closed to others."""
    folder = Path(tempfile.mkdtemp(prefix="drillcore-test-", dir="/var/tmp"))
    folder.chmod(0o777)
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


def as_nobody(command: list[str]) -> list[str]:
    if os.geteuid() != 0 or not (setpriv := shutil.which("setpriv")):
        pytest.skip("only root may become another user")
    return [setpriv, f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", *command]


@pytest.mark.parametrize("home", ["/", None, "", "/nowhere/at/all", "relative"])
@pytest.mark.parametrize("nobody", [True, False])
def test_every_user_has_a_name_and_a_home_to_write_to(open_folder: Path, nobody: bool, home: str | None) -> None:
    program = (
        "import getpass, os, sys, tempfile; from pathlib import Path\n"
        "from drillcore.environment import confine\n"
        "from drillcore.settings import Settings\n"
        "settings = Settings.load(Path(sys.argv[1]))\n"
        "confine(settings)\n"
        "home = Path.home(); home.mkdir(parents=True, exist_ok=True)\n"
        "tempfile.TemporaryFile(dir=home).close()\n"
        "print(bool(getpass.getuser()), Path('~').expanduser() == home)\n"
    )
    command = [sys.executable, "-c", program, str(open_folder / "checkout")]
    env = {"PATH": "/usr/bin:/bin"} | ({"HOME": home} if home is not None else {})
    done = subprocess.run(
        as_nobody(command) if nobody else command, env=env, capture_output=True, text=True, cwd=open_folder, check=False
    )
    if nobody and "Permission denied" in done.stderr and str(Path(sys.executable)) in done.stderr:
        pytest.skip("this Python is closed to other users")
    assert done.stdout == "True True\n", done.stderr


def served(settings: Settings, model: Path) -> Path:
    write_pointer(settings, "tiny", 1, put_blob(settings, model))
    (settings.models / "tiny.yaml").write_text("")
    image = settings.root / "grünes Bild – №1.png"
    Image.fromarray(np.full((9, 12), 200, np.uint8)).save(image)
    return image


@pytest.mark.parametrize("encoding", ["latin-1", "ascii", "cp1252", "utf-8"])
def test_output_in_any_encoding(settings: Settings, tiny_model_file: Path, encoding: str) -> None:
    image = served(settings, tiny_model_file)
    env = os.environ | {"DRILLCORE_ROOT": str(settings.root), "PYTHONIOENCODING": encoding, "DRILLCORE_DEVICE": "cpu"}
    command = [sys.executable, "-m", "drillcore", "predict", "tiny", str(image)]
    done = subprocess.run(command, env=env, capture_output=True, check=False, timeout=200)
    assert done.returncode == 0, done.stderr
    assert done.stderr == b""
    text = done.stdout.decode("utf-8" if encoding == "ascii" else encoding)  # click takes ASCII for a mistake
    assert "probability" in text
    assert ("█" in text) == (encoding == "utf-8")
    assert ("#" in text) == (encoding != "utf-8")
    if encoding == "latin-1":
        done = subprocess.run([*command, "--json"], env=env, capture_output=True, check=False, timeout=200)
        assert json.loads(done.stdout.decode(encoding))["image"] == str(image)  # no letter is lost
        done = subprocess.run([*command[:-1], "fehlt – №.png"], env=env, capture_output=True, check=False, timeout=200)
        assert done.returncode not in (0, 70)
        assert done.stderr.startswith(b"drillcore: ")


NAMES = ["a#x", "a%20x", "a%(x)s", "a b", "it's", '"it"', "é ü 魚", "a&b=c;d", "a@b:c", "[a]{b}"]


@pytest.mark.parametrize("name", NAMES)
def test_databases_stand_in_the_checkout_whatever_it_is_called(tmp_path: Path, empty_mlflow: Path, name: str) -> None:
    settings = Settings.load(tmp_path / name / "checkout", env={})
    (settings.root / "models").mkdir(parents=True)
    open_state(settings)
    shutil.copyfile(empty_mlflow, settings.state / "mlflow.db")
    with mlflow_client(settings) as client:
        run = client.create_run(client.create_experiment("tiny", artifact_location(settings, "tiny")))
        client.log_text(run.info.run_id, "text", "file.txt")
    assert (settings.state / "state.db").stat().st_size > 0
    assert len(list(settings.state.rglob("file.txt"))) == 1
    assert [path.name for path in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize("place", ["root", "state"])
def test_a_question_mark_is_refused_in_one_line(tmp_path: Path, place: str) -> None:
    odd = tmp_path / "a?x" / "checkout"
    env = {"DRILLCORE_STATE": str(odd)} if place == "state" else {}
    with pytest.raises(InputError, match=r"has a \? in its name.*set DRILLCORE_STATE"):
        Settings.load(odd if place == "root" else tmp_path, env=env)
    assert Settings.load(odd, env={"DRILLCORE_STATE": str(tmp_path / "state")}).root == odd  # the way out
