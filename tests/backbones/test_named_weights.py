"""Weights by name: the folder first, a download else; what does not fit or is damaged leaves nothing behind."""

from __future__ import annotations

import collections
import hashlib
import http.server
import json
import os
import pickle
import threading
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from drillcore.backbones.base import weights_digest
from drillcore.backbones.catalogue import add_named_weights, build_backbone, check_weights
from drillcore.backbones.networks.squeezenet import build_squeezenet
from drillcore.backbones.weights import named as named_weights
from drillcore.backbones.weights.named import fetch_file, find_weights, list_weights, stored_weights, weights_folder
from drillcore.backbones.weights.pth_conversion import convert_pth
from drillcore.errors import InputError, IntegrityError, UnknownNameError
from drillcore.settings import Settings

SQUEEZENET = "squeezenet1_0.IMAGENET1K_V1"


@pytest.fixture(scope="module")
def state() -> dict[str, torch.Tensor]:
    """Random tensors that fit SqueezeNet, and a classifier."""
    tensors = {name: value.clone() for name, value in build_squeezenet(seed=9).module.state_dict().items()}
    return tensors | {"classifier.1.weight": torch.zeros(1000, 512, 1, 1), "classifier.1.bias": torch.zeros(1000)}


@pytest.fixture
def file(tmp_path: Path, state: dict[str, torch.Tensor]) -> Path:
    path = tmp_path / "given.safetensors"
    save_file(state, path, {"source": "made by a test"})
    return path


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every connection is refused at once."""
    for name in ("https_proxy", "HTTPS_PROXY", "http_proxy", "HTTP_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], str]]:
    """A server on loopback with the files of tmp_path/site; returns addresses."""
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    folder = tmp_path / "site"
    folder.mkdir()

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *arguments: object) -> None:
            super().__init__(*arguments, directory=str(folder))  # type: ignore[arg-type]

        def log_message(self, *arguments: object) -> None:
            pass

        def do_GET(self) -> None:
            if not self.path.startswith("/cut-"):
                super().do_GET()
                return
            self.send_response(200)
            self.send_header("Content-Length", "1000")
            self.end_headers()
            self.wfile.write(b"not as much as was said")

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Quiet) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield lambda name: f"http://127.0.0.1:{server.server_address[1]}/{name}"
        server.shutdown()


def left_behind(settings: Settings) -> list[str]:
    folder = weights_folder(settings)
    return sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []


def test_added_then_used(settings: Settings, file: Path, state: dict[str, torch.Tensor], offline: None) -> None:
    stored = add_named_weights(settings, file, SQUEEZENET)
    assert stored.sha256 == hashlib.sha256(file.read_bytes()).hexdigest()
    assert (stored.source, stored.note) == ("given.safetensors", "made by a test")
    stem = "SqueezeNet1_0_Weights.IMAGENET1K_V1"
    assert left_behind(settings) == [f"{stem}.json", f"{stem}.safetensors"]
    for weights in ("IMAGENET1K_V1", SQUEEZENET, stem):
        backbone = build_backbone("squeezenet1_0", weights, settings, any_size=True)
        assert torch.equal(backbone.module.get_parameter("features.0.weight"), state["features.0.weight"])
        assert backbone.weights_sha256 == weights_digest(backbone.module)
    whole = build_backbone("torchvision:squeezenet1_0", "IMAGENET1K_V1", settings)
    assert float(whole.module(torch.ones(1, 3, 224, 224)).abs().max()) == 0  # the classifier of zeros is there
    assert [(name.short, found.sha256) for name, found in list_weights(settings)] == [(SQUEEZENET, stored.sha256)]
    assert str(settings.root) not in (weights_folder(settings) / f"{stem}.json").read_text()


def test_offline_says_what_to_do(settings: Settings, offline: None) -> None:
    with pytest.raises(InputError, match=r"drillcore weights add FILE --as squeezenet1_0\.IMAGENET1K_V1") as raised:
        build_backbone("squeezenet1_0", "IMAGENET1K_V1", settings)
    assert "\n" not in str(raised.value)
    assert left_behind(settings) == []


@pytest.mark.parametrize("zipped", [True, False])
def test_a_pth_file(settings: Settings, tmp_path: Path, state: dict[str, torch.Tensor], zipped: bool) -> None:
    path = tmp_path / "given.pth"
    torch.save(collections.OrderedDict(state), path, _use_new_zipfile_serialization=zipped)
    stored = add_named_weights(settings, path, SQUEEZENET)
    assert stored.source == "given.pth"
    assert stored.source_sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    backbone = build_backbone("squeezenet1_0", "IMAGENET1K_V1", settings)
    assert torch.equal(backbone.module.get_parameter("features.12.squeeze.bias"), state["features.12.squeeze.bias"])
    assert len(left_behind(settings)) == 2


class _Canary:
    """Makes a file when it is unpickled."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.target),)


def test_canaries_never_fire(settings: Settings, tmp_path: Path, state: dict[str, torch.Tensor]) -> None:
    fired = tmp_path / "fired"
    plain, legacy, modern, renamed = (tmp_path / f"{name}.pth" for name in ("plain", "legacy", "modern", "renamed"))
    plain.write_bytes(pickle.dumps(_Canary(fired)))
    torch.save(state | {"canary": _Canary(fired)}, legacy, _use_new_zipfile_serialization=False)
    torch.save(state | {"canary": _Canary(fired)}, modern)
    with zipfile.ZipFile(renamed, "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps(_Canary(fired)))
        archive.writestr("archive/version", "3")
    for path in (plain, legacy, modern, renamed):
        with pytest.raises(InputError, match=f"{path.name} cannot be taken as weights"):
            add_named_weights(settings, path, SQUEEZENET)
        as_safetensors = path.rename(path.with_suffix(".safetensors"))
        with pytest.raises(IntegrityError, match="not a safetensors file"):
            add_named_weights(settings, as_safetensors, SQUEEZENET)
    assert not fired.exists()
    assert left_behind(settings) == []


def test_other_things_in_a_pth(tmp_path: Path) -> None:
    path, target = tmp_path / "odd.pth", tmp_path / "out.safetensors"
    for value, expected in (([torch.zeros(2)], "list came"), ({"epoch": 3}, "'epoch' is int"), ({}, "dict came")):
        torch.save(value, path)
        with pytest.raises(InputError, match=expected):
            convert_pth(path, target)
    path.write_bytes(b"")
    with pytest.raises(InputError, match="cannot be taken as weights"):
        convert_pth(path, target)
    assert not target.exists()


def test_densenets_old_names(tmp_path: Path) -> None:
    from safetensors.torch import load_file

    path, target = tmp_path / "densenet.pth", tmp_path / "out.safetensors"
    torch.save({"features.denseblock1.denselayer2.norm.1.weight": torch.zeros(2)}, path)
    convert_pth(path, target)
    assert list(load_file(target)) == ["features.denseblock1.denselayer2.norm1.weight"]


def test_files_that_do_not_fit(settings: Settings, tmp_path: Path, file: Path, state: dict[str, torch.Tensor]) -> None:
    add_named_weights(settings, file, SQUEEZENET)
    before = {name: (weights_folder(settings) / name).read_bytes() for name in left_behind(settings)}
    with pytest.raises(InputError, match=r"as resnet18\.IMAGENET1K_V1\) does not fit the network"):
        add_named_weights(settings, file, "resnet18.IMAGENET1K_V1")
    with pytest.raises(InputError, match="no file"):
        add_named_weights(settings, tmp_path / "nothing.safetensors", SQUEEZENET)
    with pytest.raises(InputError, match="neither"):
        add_named_weights(settings, _renamed(file, "given.onnx"), SQUEEZENET)
    for size in (4, 200, file.stat().st_size - 1):
        cut = tmp_path / "cut.safetensors"
        cut.write_bytes(file.read_bytes()[:size])
        with pytest.raises(IntegrityError, match="not a whole one"):
            add_named_weights(settings, cut, SQUEEZENET)
    for name, value, expected in (
        ("features.0.weight", torch.zeros(96, 3, 5, 5), r"features\.0\.weight \(\[96, 3, 7, 7\] is expected"),
        ("features.0.weight", torch.full((96, 3, 7, 7), torch.nan), r"not finite, first in features\.0\.weight"),
        ("features.0.weight", torch.zeros(96, 3, 7, 7, dtype=torch.int8), "int8 came"),
    ):
        odd = tmp_path / "odd.safetensors"
        save_file(state | {name: value}, odd)
        with pytest.raises(InputError, match=expected):
            add_named_weights(settings, odd, SQUEEZENET)
    assert {name: (weights_folder(settings) / name).read_bytes() for name in left_behind(settings)} == before


def _renamed(file: Path, name: str) -> Path:
    copy = file.with_name(name)
    copy.write_bytes(file.read_bytes())
    return copy


def test_a_damaged_folder(settings: Settings, file: Path) -> None:
    add_named_weights(settings, file, SQUEEZENET)
    name = find_weights(SQUEEZENET)
    target = weights_folder(settings) / f"{name.full}.safetensors"
    data = bytearray(target.read_bytes())
    data[-1] ^= 1
    target.write_bytes(data)
    with pytest.raises(IntegrityError, match="bring the file again"):
        build_backbone("squeezenet1_0", "IMAGENET1K_V1", settings)
    record = target.with_suffix(".json")
    record.write_text("{")
    with pytest.raises(IntegrityError, match="drillcore weights add FILE"):
        stored_weights(settings, name)
    record.unlink()
    assert stored_weights(settings, name) is None


def test_names(settings: Settings) -> None:
    assert find_weights("IMAGENET1K_V1", "vgg16").full == "VGG16_Weights.IMAGENET1K_V1"
    assert find_weights("VGG16_Weights.IMAGENET1K_FEATURES").short == "vgg16.IMAGENET1K_FEATURES"
    assert find_weights("torchvision:resnet50.IMAGENET1K_V2").url.endswith("resnet50-11ad3fa6.pth")
    with pytest.raises(UnknownNameError, match=r"weights of resnet50 'IMAGENET1K_V3'.*IMAGENET1K_V1, IMAGENET1K_V2"):
        find_weights("IMAGENET1K_V3", "resnet50")
    with pytest.raises(UnknownNameError, match="network of torchvision 'resnet19'"):
        find_weights("resnet19.IMAGENET1K_V1")
    with pytest.raises(InputError, match=r"NETWORK\.NAME"):
        find_weights("IMAGENET1K_V1")
    with pytest.raises(InputError, match="DEFAULT changes with torchvision"):
        find_weights("DEFAULT", "resnet50")
    with pytest.raises(InputError, match="are of vgg16; for squeezenet1_0 give one of IMAGENET1K_V1"):
        check_weights("squeezenet1_0", "VGG16_Weights.IMAGENET1K_V1")
    with pytest.raises(InputError, match="allowed: seed:N, sha256:DIGEST"):
        check_weights("cnn1", "IMAGENET1K_V1")
    with pytest.raises(InputError, match="such as IMAGENET1K_V1"):
        build_backbone("squeezenet1_0", "seed:many", settings)
    for weights in ("seed:3", f"sha256:{'0' * 64}", f"w/x.safetensors#sha256={'0' * 64}", "IMAGENET1K_V1"):
        check_weights("squeezenet1_0", weights)


def test_preprocessing_comes_with_the_weights(settings: Settings, tmp_path: Path) -> None:
    """VGG-16's FEATURES were trained on grey levels less a mean, not divided; its classifier holds no numbers."""
    from drillcore.backbones.networks.vgg import build_vgg16

    tensors = dict(build_vgg16(seed=2).module.state_dict())
    path = tmp_path / "vgg.safetensors"
    save_file(tensors | {"classifier.6.bias": torch.full((1000,), torch.nan)}, path)
    add_named_weights(settings, path, "vgg16.IMAGENET1K_FEATURES")
    backbone = build_backbone("vgg16", "IMAGENET1K_FEATURES", settings, any_size=True)
    assert backbone.preprocessing["scale"] == pytest.approx([1.0] * 3, rel=1e-6)
    assert backbone.preprocessing["offset"] == pytest.approx([-123, -117, -104], abs=0.01)
    assert backbone.resize is None
    assert build_backbone("vgg16", "seed:0", settings).preprocessing["scale"] != backbone.preprocessing["scale"]


def served(settings: Settings, monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    """Have torchvision's name stand for an address on loopback."""
    real = named_weights.find_weights

    def find(text: str, network: str = "") -> named_weights.WeightsName:
        import dataclasses

        return dataclasses.replace(real(text, network), url=address)

    monkeypatch.setattr("drillcore.backbones.catalogue.find_weights", find)


def test_a_download(
    settings: Settings,
    tmp_path: Path,
    state: dict[str, torch.Tensor],
    site: Callable[[str], str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    path = tmp_path / "made.pth"
    torch.save(state, path)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    name = f"squeezenet1_0-{digest[:8]}.pth"
    path.rename(tmp_path / "site" / name)
    served(settings, monkeypatch, site(name))
    backbone = build_backbone("squeezenet1_0", "IMAGENET1K_V1", settings)
    assert torch.equal(backbone.module.get_parameter("features.0.bias"), state["features.0.bias"])
    ((_, stored),) = list_weights(settings)
    assert (stored.source, stored.source_sha256) == (site(name), digest)
    assert len(left_behind(settings)) == 2
    served(settings, monkeypatch, site("gone-00000000.pth"))  # not asked for again
    assert build_backbone("squeezenet1_0", "IMAGENET1K_V1", settings).weights_sha256 == backbone.weights_sha256


def test_downloads_that_are_refused(
    settings: Settings, tmp_path: Path, site: Callable[[str], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    fired = tmp_path / "fired"
    data = pickle.dumps(_Canary(fired))
    for name in ("squeezenet1_0-b66bff10.pth", "cut-b66bff10.pth", "nodigest.pth"):
        (tmp_path / "site" / name).write_bytes(data)
    for name, error, expected in (
        ("squeezenet1_0-b66bff10.pth", IntegrityError, r"b66bff10\.\.\. is expected"),
        ("cut-b66bff10.pth", InputError, "could not be downloaded"),
        ("nodigest.pth", InputError, "no digest in its address"),
        ("missing-b66bff10.pth", InputError, "could not be downloaded"),
    ):
        served(settings, monkeypatch, site(name))
        with pytest.raises(error, match=expected):
            build_backbone("squeezenet1_0", "IMAGENET1K_V1", settings)
    assert not fired.exists()
    assert left_behind(settings) == []


def test_fetch_file(tmp_path: Path, site: Callable[[str], str]) -> None:
    data = bytes(range(256)) * 20_000
    (tmp_path / "site" / "blob").write_bytes(data)
    assert fetch_file(site("blob"), tmp_path / "got") == hashlib.sha256(data).hexdigest()
    assert (tmp_path / "got").read_bytes() == data


@pytest.mark.shared
def test_the_real_squeezenet(settings: Settings, shared_dir: Path, offline: None) -> None:
    stored = add_named_weights(settings, shared_dir / "weights" / "squeezenet1_0.safetensors", SQUEEZENET)
    assert stored.note.startswith("SqueezeNet v1.0 trained on ImageNet-1k")
    backbone = build_backbone("squeezenet1_0", "IMAGENET1K_V1", settings, any_size=True)
    assert backbone.weights_sha256 == weights_digest(backbone.module)
    assert json.loads(json.dumps(backbone.preprocessing))["resize"] is None
    values = backbone.forward_taps(torch.randn(1, 3, 90, 120, generator=torch.Generator().manual_seed(0)), ["fire9"])
    assert 0.05 < float((values["fire9"] > 0).float().mean()) < 0.6  # trained: most cells are silent
