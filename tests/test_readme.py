"""Every fenced block of README.md does what it says.

The blocks run one after the other in a copy of the checkout, as a reader would run them, with these replacements:

    make run                     drillcore run: what the target calls once the environment is there
    pip install, drillcore run   left out: tests/package/ installs the wheel and runs all of it in a project of its own
    drillcore init plankton      made beside the copy, not in it
    make test, make docs, ...    left out: this is one of its tests
    what keeps running           its --help (servers, workers, --watch): other tests start and stop those
    .venv                        a link to the environment the tests run in
    models of every pixel,       their --help: trained with the pretrained weights they take the better part of an hour;
    a network fine-tuned whole   tests/retrain/ takes small ones from import to champion
    ~/shells, ~/new-...          small drawn images in a temporary HOME
    ../shared/data/*.zip         a small zip in the competition's layout, beside the copy
    ../shared/weights/*          random weights of that network
    plankton.onnx, image.jpg     written by the command the text above the block names; one of the images
"""

from __future__ import annotations

import os
import random
import re
import shlex
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import pytest
from PIL import Image, ImageDraw

CHECKOUT = Path(__file__).resolve().parents[1]
README = CHECKOUT / "README.md"
MAKE = {"make run": ".venv/bin/drillcore run"}
BESIDE = {
    "drillcore init plankton": ".venv/bin/drillcore init ../plankton",
    "cd plankton": "cd ../plankton",
    "drillcore run": "git status --short --branch",
}
_DENSE = r"(?:data import|retrain|score|similar|evaluate) (?:camvid|baeri|bsds500|binary-map)"
_TUNED = r"retrain plankton(?!-)"
_LASTING = re.compile(rf"(\S*drillcore (?:flows \w+|serve|fetch|{_DENSE}|{_TUNED})|\S*mlflow ui)\b.*")
_FENCE = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_COMMAND = re.compile(r"`(?:\.venv/bin/)?(drillcore [^`]+)`")


@dataclass(frozen=True)
class Block:
    language: str
    text: str

    @property
    def lines(self) -> list[str]:
        """The commands of a bash block, without comments."""
        kept = [re.sub(r"\s+#.*$", "", line).strip() for line in self.text.splitlines()]
        return [line for line in kept if line and not line.startswith("#")]


def blocks() -> list[Block]:
    return [Block(language, text) for language, text in _FENCE.findall(README.read_text(encoding="utf-8"))]


def runnable(line: str) -> str:
    """Return what is run in the place of a line."""
    if line.startswith("make "):
        return MAKE.get(line, "true")
    if line.startswith("pip install"):
        return "true"
    if line in BESIDE:
        return BESIDE[line]
    lasting = _LASTING.fullmatch(line)
    return f"{lasting[1]} --help" if lasting else line


def commands() -> Iterator[str]:
    """Every `drillcore ...` of the README, in blocks and in the text."""
    for block in blocks():
        if block.language == "bash":
            yield from (runnable(line).replace(".venv/bin/", "") for line in block.lines)
    text = _FENCE.sub("", README.read_text(encoding="utf-8"))
    yield from _COMMAND.findall(text)


def test_there_are_blocks_and_only_of_known_languages() -> None:
    found = [block.language for block in blocks()]
    assert found.count("bash") >= 3
    assert "python" in found
    assert set(found) <= {"bash", "python"}


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("make run", ".venv/bin/drillcore run"),
        ("make test", "true"),
        ('pip install "drillcore[train,serve]"', "true"),
        ("drillcore init plankton", ".venv/bin/drillcore init ../plankton"),
        (".venv/bin/drillcore flows server &", ".venv/bin/drillcore flows server --help"),
        (".venv/bin/drillcore score MODEL a b", ".venv/bin/drillcore score MODEL a b"),
    ],
)
def test_what_is_run_in_the_place_of_a_line(line: str, expected: str) -> None:
    assert runnable(line) == expected


def test_pictures_and_files_that_are_linked_exist() -> None:
    links = re.findall(r"\]\(([^)#]+)\)", README.read_text(encoding="utf-8"))
    assert links
    assert [link for link in links if "://" not in link and not (CHECKOUT / link).exists()] == []


@pytest.mark.parametrize("command", [command for command in commands() if command.startswith("drillcore ")])
def test_commands_and_options_exist(command: str) -> None:
    """The command line takes the words; nothing is run."""
    import click

    from drillcore.cli.root import cli

    words = [word for word in shlex.split(command)[1:] if word != "..."]
    group: click.Command = cli
    context = click.Context(cli, info_name="drillcore")
    while isinstance(group, click.Group):
        name = words.pop(0)
        found = group.get_command(context, name)
        assert found is not None, f"no command {name!r}"
        context, group = click.Context(found, parent=context, info_name=name), found
    if "--help" not in words:
        group.make_context(context.info_name, list(words), parent=context.parent)


def test_ten_lines_use_an_exported_file_without_us(tiny_models: ModuleType, tmp_path: Path) -> None:
    """The block on a tiny model of our format, with one channel as the README's has."""
    (block,) = [block for block in blocks() if block.language == "python" and "InferenceSession" in block.text]
    lines = [line for line in block.text.splitlines() if line.strip()]
    assert len(lines) <= 10
    assert "drillcore." not in block.text
    tiny_models.write_tiny_model(tmp_path / "plankton.onnx")
    Image.new("L", (9, 7), 90).save(tmp_path / "image.jpg")
    done = subprocess.run([sys.executable, "-c", block.text], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    name, probability = done.stdout.rsplit(maxsplit=1)
    assert name
    assert 0 <= float(probability) <= 1


def draw_shells(folder: Path, count: int, seed: int = 3) -> None:
    chance = random.Random(seed)
    for shape in ("disc", "ring", "rod"):
        (folder / shape).mkdir(parents=True, exist_ok=True)
        for number in range(count):
            size = chance.randint(30, 50)
            image = Image.new("RGB", (size, size), (230, 230, 220))
            pen = ImageDraw.Draw(image)
            if shape == "disc":
                pen.ellipse((6, 6, size - 8, size - 8), fill=(40, 50, 60))
            elif shape == "ring":
                pen.ellipse((6, 6, size - 8, size - 8), outline=(40, 50, 60), width=4)
            else:
                pen.rectangle((4, size // 2 - 3, size - 4, size // 2 + 3), fill=(40, 50, 60))
            image.rotate(chance.uniform(0, 360), fillcolor=(230, 230, 220)).save(folder / shape / f"{number:03}.png")


def write_weights(folder: Path) -> None:
    """Write random weights of SqueezeNet where the README has the trained ones."""
    import torch
    from safetensors.torch import save_file
    from torchvision.models import squeezenet1_0

    (folder / "data").mkdir(parents=True)
    (folder / "weights").mkdir()
    torch.manual_seed(0)
    save_file(squeezenet1_0(weights=None).state_dict(), folder / "weights" / "squeezenet1_0.safetensors")


@pytest.fixture
def reader(tmp_path: Path) -> Iterator[tuple[Path, dict[str, str]]]:
    """A copy of the checkout with what a reader has around it, and the reader's environment."""
    from drillcore.datasets.synthetic import write_sample

    copy, home = tmp_path / "drillcore", tmp_path / "home"
    listed = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(listed, cwd=CHECKOUT, capture_output=True, check=True).stdout.decode().split("\0")
    for name in filter(None, names):
        if (CHECKOUT / name).is_file():
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(CHECKOUT / name, copy / name)
    (copy / ".venv").symlink_to(sys.prefix, target_is_directory=True)
    home.mkdir()
    draw_shells(home / "shells", 40)
    draw_shells(home / "scratch", 3, seed=4)
    (home / "new-images").mkdir()
    for path in sorted((home / "scratch").rglob("*.png")):
        path.rename(home / "new-images" / f"{path.parent.name}-{path.name}")
    draw_shells(home / "new-shells", 5, seed=6)
    for path in sorted((home / "new-shells").rglob("*.png")):
        path.rename(path.with_name(f"new-{path.name}"))
    write_sample("plankton", tmp_path / "sample")
    write_weights(tmp_path / "shared")
    classes = sorted(path for path in (tmp_path / "sample").rglob("*") if path.is_dir() and any(path.glob("*.jpg")))
    with zipfile.ZipFile(tmp_path / "shared" / "data" / "plankton_train.zip", "w") as archive:
        for folder in classes[:4]:
            for image in sorted(folder.glob("*.jpg"))[:40]:
                archive.write(image, f"train/{folder.name}/{image.name}")
    env = {
        name: value for name, value in os.environ.items() if not name.startswith(("DRILLCORE_", "PREFECT_", "MLFLOW_"))
    }
    env |= {"HOME": str(home), "DRILLCORE_DEVICE": "cpu", "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1"}
    identity = ["-c", "user.name=reader", "-c", "user.email=reader@example.org"]
    for arguments in (["init", "-q"], ["add", "-A"], [*identity, "commit", "-q", "-m", "a clone"]):
        subprocess.run(["git", *arguments], cwd=copy, env=env, check=True, capture_output=True)
    yield copy, env
    shutil.rmtree(copy, ignore_errors=True)


@pytest.mark.slow
@pytest.mark.timeout(2400)
def test_every_block_runs_in_order(reader: tuple[Path, dict[str, str]]) -> None:
    copy, env = reader
    exported = re.search(r"`drillcore (export plankton-forest plankton\.onnx)`", README.read_text(encoding="utf-8"))
    for block in blocks():
        if block.language == "bash":
            script = "\n".join(runnable(line) for line in block.lines)
            _run(["bash", "-euo", "pipefail", "-c", script], copy, env)
            continue
        if "plankton.onnx" in block.text and exported:
            _run([".venv/bin/drillcore", *exported[1].split()], copy, env)
            image = next((copy / "data" / "plankton").rglob("*.jpg"))
            shutil.copy(image, copy / "image.jpg")
        _run([".venv/bin/python", "-c", block.text], copy, env)
    assert (copy / "scored" / "receipt.json").is_file()
    # The block without us imports onnxruntime, which keeps a cache of its own there.
    assert sorted(path.name for path in (copy.parent / "home").glob("[!.]*")) == [
        "new-images",
        "new-shells",
        "scratch",
        "shells",
    ]


def _run(command: list[str], folder: Path, env: dict[str, str]) -> None:
    done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{command[-1]}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
