"""What is built holds what it should; installed outside any checkout it scores and serves, and begins a project."""

from __future__ import annotations

import io
import json
import subprocess
import zipfile
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import httpx
import pytest
from installed_case import CHECKOUT, Installed, build, install, listing, unpack, until
from PIL import Image
from server_case import free_port

pytestmark = pytest.mark.slow
_FORBIDDEN = ("torch", "torchvision", "sklearn", "mlflow", "prefect", "dvc", "great_expectations", "timm")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of this checkout."""
    return build(tmp_path_factory.mktemp("wheel"), CHECKOUT, "wheel")


def draw(folder: Path, count: int, first: int = 0) -> Path:
    """Write images of three classes: dark, middling and bright ones with a bar."""
    for label, level in (("dark", 20), ("grey", 120), ("pale", 220)):
        (folder / label).mkdir(parents=True, exist_ok=True)
        for number in range(first, first + count):
            image = Image.new("RGB", (40 + number % 7, 36), (level, level, level))
            image.paste((level + 30, level, 0), (number % 20, 4, number % 20 + 9, 30))
            image.save(folder / label / f"{number:03}.png")
    return folder


def test_the_wheel_installs_our_names_alone_and_the_sdist_builds_the_same(wheel: Path, tmp_path: Path) -> None:
    def contents(path: Path) -> dict[str, int]:
        with zipfile.ZipFile(path) as archive:
            return {item.filename: item.CRC for item in archive.infolist()}

    found = contents(wheel)
    tops = {name.partition("/")[0] for name in found}
    assert tops == {
        "drillcore",
        "drillcore_pipelines",
        "drillcore_serving",
        wheel.name.rsplit("-", 3)[0] + ".dist-info",
    }
    for top in ("drillcore", "drillcore_pipelines", "drillcore_serving"):
        assert f"{top}/py.typed" in found
    pages = [name for name in found if name.startswith("drillcore_serving/online/page/")]
    assert len(pages) == len(list((CHECKOUT / "serving" / "online" / "page").iterdir()))
    assert "drillcore_serving/online/docs.css" in found
    assert "drillcore/starter/files/models/plankton-forest.yaml" in found
    assert not [name for name in found if "requirements" in name or "Dockerfile" in name]
    source = unpack(build(tmp_path / "sdist", CHECKOUT, "sdist"), tmp_path / "source")
    assert contents(build(tmp_path / "again", source, "wheel")) == found


@pytest.mark.timeout(900)
def test_scoring_and_serving_need_neither_a_project_nor_what_trains(
    wheel: Path, tmp_path: Path, tiny_models: ModuleType
) -> None:
    installed = install(tmp_path / "machine", wheel, "serve")
    folder = tmp_path / "anywhere"
    draw(folder / "images", 2)
    tiny_models.write_tiny_model(folder / "tiny.onnx")
    before = listing(installed.folder)
    probe = "import importlib.util as u, sys; print([n for n in sys.argv[1:] if u.find_spec(n)], end='')"
    assert installed.run(folder, "python", "-c", probe, *_FORBIDDEN).stdout == "[]"
    probe = "import drillcore; print(dir(drillcore), len(drillcore.score('tiny.onnx', 'images')))"
    assert "'train'] 6" in installed.run(folder, "python", "-c", probe).stdout

    def told(*words: str) -> Any:
        return json.loads(installed.run(folder, "drillcore", *words).stdout)

    assert told("predict", "tiny.onnx", "images/dark/000.png", "--json")["model"] == "tiny"
    assert told("score", "tiny.onnx", "images", "scored", "--json")["scored"] == 6
    assert "6 scored" in installed.run(folder, "drillcore", "receipt", "verify", "scored").stdout
    labelled = folder / "labelled"
    for index, label in enumerate(("bright", "middle", "dark")):
        (labelled / label).mkdir(parents=True)
        Image.new("L", (9, 7), 240 - 100 * index).save(labelled / label / "one.png")
    assert told("evaluate", "tiny.onnx", "--data", "labelled", "--json", "-")["images"] == 3
    with installed.serving(folder, "tiny.onnx") as client:
        stream = io.BytesIO()
        Image.new("L", (9, 7), 200).save(stream, "PNG")
        said = client.post("/predict/tiny", content=stream.getvalue(), headers={"content-type": "image/png"}).json()
        assert (said["model"], said["version"]) == ("tiny", 0)
        assert client.get("/").status_code == 200
    done = installed.run(folder, "drillcore", "models", code=2)
    assert "`drillcore init DIR`" in done.stderr
    assert "pip install 'drillcore[train]'" in installed.run(folder, "drillcore", "init", "mine").stdout
    done = installed.run(folder / "mine", "drillcore", "retrain", "plankton-forest", code=1)
    assert "which is not installed: pip install 'drillcore[train]'" in done.stderr
    assert {path.name for path in folder.iterdir()} == {"images", "labelled", "tiny.onnx", "scored", "mine"}
    assert listing(installed.folder) == before
    assert {path.name for path in installed.home.iterdir()} <= {".gitconfig", ".cache"}


@pytest.mark.timeout(2400)
def test_the_path_of_a_newcomer(wheel: Path, tmp_path: Path) -> None:
    """As the README of a new project has it, with a short training; then one deployment on a server of its own."""
    installed = install(tmp_path / "machine", wheel, None)
    root = tmp_path / "work" / "mine"
    root.parent.mkdir()
    before = listing(installed.folder)

    def run(*words: str) -> str:
        return installed.run(root, "drillcore", *words).stdout

    def git(*words: str) -> str:
        command = ["git", *words]
        return subprocess.run(command, cwd=root, env=installed.env, capture_output=True, text=True, check=True).stdout

    installed.run(root.parent, "drillcore", "init", "mine")
    shorten(root / "models" / "plankton-forest.yaml")
    (root / "models" / "plankton-lite.yaml").unlink()  # the same path once more
    git("commit", "-qam", "a shorter training")
    done = installed.run(root, "drillcore", "run")
    assert "plankton-forest" in done.stdout
    assert "INFO" not in done.stdout + done.stderr
    assert "to keep: git add data.dvc" in done.stderr
    git("commit", "-qm", "sample", "data.dvc")
    assert git("status", "--porcelain") == ""
    draw(tmp_path / "shells", 30)
    draw(tmp_path / "new", 2, first=40)
    run("data", "import", "--layout", "classes", "shells", str(tmp_path / "shells"))
    assert git("status", "--porcelain") == ""
    run("new", "shells-lite")
    made = {f"models/shells-lite.{kind}" for kind in ("yaml", "md")}  # recipe and card
    assert set(git("status", "--porcelain").split()) == {"??", *made}
    run("retrain", "shells-lite", "--promote")
    assert set(git("status", "--porcelain").split()) == {"M", "data.dvc", "??", *made}
    git("add", "-A")
    git("commit", "-qm", "shells")
    run("score", "shells-lite", str(tmp_path / "new"), "scored")
    run("receipt", "verify", "scored")
    run("export", "shells-lite", "shells.onnx")
    assert git("status", "--porcelain") == ""
    with installed.serving(root, "shells-lite") as client:
        image = (tmp_path / "new" / "dark" / "040.png").read_bytes()
        said = client.post("/predict/shells-lite", content=image, headers={"content-type": "image/png"}).json()
        assert (said["version"], said["label"]) == (1, "dark")
    deploy(installed, root)
    assert git("status", "--porcelain") == ""
    assert listing(installed.folder) == before
    assert {path.name for path in installed.home.iterdir()} <= {".gitconfig", ".cache", ".config"}


def shorten(recipe: Path) -> None:
    text = recipe.read_text().replace("epochs: 40, patience: 12", "epochs: 12, patience: 4")
    assert "epochs: 12" in text
    recipe.write_text(text.replace("n_estimators: 400", "n_estimators: 40"))


def deploy(installed: Installed, root: Path) -> None:
    """Register prefect.yaml with a server and let a worker run one deployment."""
    port = free_port()
    url = f"http://127.0.0.1:{port}/api"
    with_server = replace(installed, more={"PREFECT_API_URL": url, "PREFECT_WORKER_QUERY_SECONDS": "1"})
    with with_server.running(root, "flows", "server", "--port", str(port)):
        with_server.run(root, "drillcore", "flows", "setup")
        with_server.run(root, "drillcore", "flows", "deploy")
        with with_server.running(root, "flows", "worker"), httpx.Client(base_url=f"{url}/", timeout=60) as api:
            found = api.get("deployments/name/ingest/plankton").raise_for_status().json()
            made = api.post(f"deployments/{found['id']}/create_flow_run", json={"state": {"type": "SCHEDULED"}})
            run = made.raise_for_status().json()["id"]
            until(lambda: api.get(f"flow_runs/{run}").json()["state_type"] in ("COMPLETED", "FAILED", "CRASHED"))
            state = api.get(f"flow_runs/{run}").json()["state"]
            assert (state["type"], state["name"]) == ("COMPLETED", "Unchanged"), state
