"""torchvision's weights by name: a local folder first, then a download.

    <state>/weights/SqueezeNet1_0_Weights.IMAGENET1K_V1.safetensors
    <state>/weights/SqueezeNet1_0_Weights.IMAGENET1K_V1.json      digest, size, where they are from

A download is torchvision's own file, its digest checked against the beginning that torchvision writes into the file's
name, and converted once (`pth_conversion`). A site without a network brings a file: `drillcore weights add`.
"""

from __future__ import annotations

import hashlib
import json
import re
import tempfile
import urllib.error
import urllib.request
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from torch import nn

from drillcore.backbones.networks.torchvision_networks import torchvision_models, torchvision_names
from drillcore.backbones.weights.pth_conversion import convert_pth
from drillcore.backbones.weights.tensors import fitting_tensors, parse_tensors
from drillcore.digests import sha256_bytes, sha256_file
from drillcore.errors import InputError, IntegrityError, UnknownNameError
from drillcore.files import read_object, write_bytes, write_json
from drillcore.progress import progress
from drillcore.settings import Settings

_SCHEMA = 1
_SECONDS = 30  # without a byte
_BLOCK = 1 << 20
_NOTE = 400  # characters of what a file says of itself


@dataclass(frozen=True, slots=True)
class WeightsName:
    """Weights that torchvision publishes.

    Attributes:
        network: torchvision's name of it, for instance "squeezenet1_0".
        enumeration: torchvision's class of its weights, "SqueezeNet1_0_Weights".
        member: "IMAGENET1K_V1".
        url: of the .pth file; its name ends with the beginning of its digest.
        constants: mean and standard deviation the weights were trained with, of grey levels from 0 to 1; None: they are
            the network's.
    """

    network: str
    enumeration: str
    member: str
    url: str
    constants: tuple[tuple[float, ...], tuple[float, ...]] | None = None

    @property
    def short(self) -> str:
        """As `drillcore weights` shows it."""
        return f"{self.network}.{self.member}"

    @property
    def full(self) -> str:
        """As torchvision writes it."""
        return f"{self.enumeration}.{self.member}"


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredWeights:
    """One file of the weights folder.

    Attributes:
        name: `WeightsName.short`.
        sha256: of the safetensors file.
        bytes: its size.
        source: the address it was downloaded from, or the name of the file that was given.
        source_sha256: of that file.
        note: what a given safetensors file says of itself.
    """

    name: str
    sha256: str
    bytes: int
    source: str
    source_sha256: str
    note: str = ""


def find_weights(text: str, network: str = "") -> WeightsName:
    """Return the weights a text names.

    Args:
        text: "IMAGENET1K_V1" where the network is known, "squeezenet1_0.IMAGENET1K_V1", or torchvision's
            "SqueezeNet1_0_Weights.IMAGENET1K_V1".
        network: torchvision's name of the network they are for; "": the text says it.

    Raises:
        UnknownNameError: no such network or weights; names the known ones.
        InputError: weights of another network, or DEFAULT, which changes with torchvision.
    """
    owner, _, member = text.rpartition(".")
    if owner:
        named = _network(owner.removeprefix("torchvision:"))
        if network and named != network:
            raise InputError(f"weights {text!r} are of {named}; for {network} give one of {', '.join(_known(network))}")
        network = named
    elif not network:
        raise InputError(f"weights are named NETWORK.NAME, for instance squeezenet1_0.IMAGENET1K_V1; {text!r} came")
    if member == "DEFAULT":
        raise InputError(f"DEFAULT changes with torchvision; for {network} give one of {', '.join(_known(network))}")
    if member not in _known(network):
        raise UnknownNameError(f"weights of {network}", member, _known(network))
    enumeration = torchvision_models().get_model_weights(network)
    found = enumeration[member]
    return WeightsName(network, enumeration.__name__, member, str(found.url), _constants(network, found))


def weights_folder(settings: Settings) -> Path:
    """Return the folder of named weights."""
    return settings.state / "weights"


def provide_weights(settings: Settings, name: WeightsName, network: nn.Module) -> tuple[Path, str]:
    """Return file and digest of named weights; they are downloaded where they are not in the folder.

    Raises:
        InputError: they are not here and cannot be downloaded; says how to bring them.
        IntegrityError: the record of the file is damaged, or a download is not what it should be.
    """
    stored = stored_weights(settings, name)
    if stored is None:
        stored = _download(settings, name, network)
    return _file(settings, name), stored.sha256


def stored_weights(settings: Settings, name: WeightsName) -> StoredWeights | None:
    """Return what is known of named weights in the folder; None: they are not there. Raises IntegrityError."""
    again = f"bring the file again: drillcore weights add FILE --as {name.short}"
    return read_record(_record(settings, name), _file(settings, name), again)


def read_record(record: Path, file: Path, again: str) -> StoredWeights | None:
    """Return what a record says of a file of weights; None: one of the two is not there.

    Args:
        record: the JSON beside the file.
        file: of the weights; it is not read.
        again: what to do where the record is damaged, for the error.

    Raises:
        IntegrityError: the record is damaged.
    """
    if not record.is_file() or not file.is_file():
        return None
    try:
        values = read_object(record)
        if values.pop("schema") != _SCHEMA or not re.fullmatch("[0-9a-f]{64}", values["sha256"]):
            raise ValueError("schema or digest")
        return StoredWeights(**values)
    except (ValueError, KeyError, TypeError) as error:
        raise IntegrityError(f"{record.name} is damaged ({error}); {again}") from None


def write_record(record: Path, stored: StoredWeights) -> None:
    """Write what `read_record` reads. Raises OSError."""
    write_json(record, {"schema": _SCHEMA} | asdict(stored))


def list_weights(settings: Settings) -> list[tuple[WeightsName, StoredWeights]]:
    """Return the weights in the folder, sorted by name. Raises IntegrityError."""
    found = []
    for path in sorted(weights_folder(settings).glob("*_Weights.*.json")):
        name = find_weights(path.stem)
        stored = stored_weights(settings, name)
        if stored is not None:
            found.append((name, stored))
    return sorted(found, key=lambda item: item[0].short)


def add_weights(settings: Settings, name: WeightsName, source: Path, network: nn.Module) -> StoredWeights:
    """Copy a file into the weights folder under a name, whole or not at all.

    Args:
        settings: where the folder is.
        name: what it shall be.
        source: a .safetensors or .pth file.
        network: that it has to fit.

    Raises:
        InputError: no such file, of another kind, or one that does not fit.
        IntegrityError: it is damaged.
    """
    if not source.is_file():
        raise InputError(f"no file {source}; give a .safetensors or .pth file")
    if source.suffix not in (".safetensors", ".pth"):
        raise InputError(f"{source.name} is neither .safetensors nor .pth")
    return _keep(settings, name, source, network, source.name)


def _keep(settings: Settings, name: WeightsName, file: Path, network: nn.Module, source: str) -> StoredWeights:
    data = _safetensors_bytes(settings, file)
    tensors = fitting_tensors(network, parse_tensors(data, file.name), f"{file.name} (as {name.short})")
    broken = [key for key, value in tensors.items() if value.is_floating_point() and not value.isfinite().all()]
    if broken:
        raise InputError(f"{file.name} has values that are not finite, first in {broken[0]}")
    stored = StoredWeights(
        name=name.short,
        sha256=sha256_bytes(data),
        bytes=len(data),
        source=source,
        source_sha256=sha256_file(file),
        note=_note(data),
    )
    # Without its record a file is not there: a kill between the two leaves nothing half right.
    _record(settings, name).unlink(missing_ok=True)
    write_bytes(_file(settings, name), data)
    write_record(_record(settings, name), stored)
    return stored


def _safetensors_bytes(settings: Settings, file: Path) -> bytes:
    if file.suffix == ".safetensors":
        return file.read_bytes()
    with _scratch(settings) as scratch:
        target = Path(scratch) / f"{file.stem}.safetensors"
        convert_pth(file, target)
        return target.read_bytes()


def _download(settings: Settings, name: WeightsName, network: nn.Module) -> StoredWeights:
    file = name.url.rpartition("/")[2]
    expected = re.search(r"-([0-9a-f]{8,})\.pth$", file)
    how = f"bring the file and run: drillcore weights add FILE --as {name.short}"
    if expected is None:
        raise InputError(f"{name.full} has no digest in its address, so it is not downloaded; {how}")
    with _scratch(settings) as scratch:
        target = Path(scratch) / file
        try:
            digest = fetch_file(name.url, target)
        except (OSError, urllib.error.URLError) as error:
            reason = getattr(error, "reason", None) or error
            raise InputError(
                f"{name.full} is not in the weights folder and could not be downloaded ({reason}); {how}"
            ) from None
        if not digest.startswith(expected[1]):
            raise IntegrityError(f"{name.url} came with sha256 {digest[:16]}..., {expected[1]}... is expected; {how}")
        return _keep(settings, name, target, network, name.url)


def fetch_file(url: str, target: Path) -> str:
    """Download an address to a file; returns the lower-case hexadecimal SHA-256.

    Raises:
        OSError: no connection, an answer other than 200, or one that ends early; urllib's errors are of this kind.
    """
    digest = hashlib.sha256()
    request = urllib.request.Request(url, headers={"User-Agent": "drillcore"})  # noqa: S310 - torchvision's addresses
    opener = urllib.request.build_opener()  # urlopen's own keeps the proxies of the process' first call
    with opener.open(request, timeout=_SECONDS) as answer, target.open("wb") as stream:
        length = int(answer.headers.get("Content-Length") or 0)
        with progress(f"downloading {target.name}", length or None, "bytes") as advance:
            while block := answer.read(_BLOCK):
                digest.update(block)
                stream.write(block)
                advance(len(block))
    if length and target.stat().st_size != length:
        raise OSError(f"{target.stat().st_size} of {length} bytes came")
    return digest.hexdigest()


def _scratch(settings: Settings) -> tempfile.TemporaryDirectory[str]:
    weights_folder(settings).mkdir(parents=True, exist_ok=True)
    return tempfile.TemporaryDirectory(prefix=".partial-", dir=weights_folder(settings))


def _file(settings: Settings, name: WeightsName) -> Path:
    return weights_folder(settings) / f"{name.full}.safetensors"


def _record(settings: Settings, name: WeightsName) -> Path:
    return weights_folder(settings) / f"{name.full}.json"


def _known(network: str) -> Sequence[str]:
    return [item.name for item in torchvision_models().get_model_weights(network)]


def _network(owner: str) -> str:
    """Return torchvision's name of the network that a text, or the class of its weights, names."""
    names = torchvision_names()
    if owner in names:
        return owner
    for name in names:
        if torchvision_models().get_model_weights(name).__name__ == owner:
            return name
    raise UnknownNameError("network of torchvision", owner, names)


def _constants(network: str, weights: Any) -> tuple[tuple[float, ...], tuple[float, ...]] | None:
    # GoogLeNet and Inception turn ImageNet's rule into their own inside torchvision's network, which ours leave out.
    rule = weights.transforms()
    if network in ("googlenet", "inception_v3") or not hasattr(rule, "mean"):
        return None
    return tuple(float(v) for v in rule.mean), tuple(float(v) for v in rule.std)


def _note(data: bytes) -> str:
    header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    note = header.get("__metadata__", {}).get("source", "")
    return " ".join(str(note).split())[:_NOTE]
