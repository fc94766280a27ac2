"""The backbones there are, by name, and where their weights come from."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal, Protocol

from drillcore.backbones.base import Backbone, weights_digest
from drillcore.backbones.networks.convolved import build_alexnet_conv, build_vgg16_conv
from drillcore.backbones.networks.grey_squeezenet import NAME as GREY_SQUEEZENET
from drillcore.backbones.networks.grey_squeezenet import build_grey_squeezenet
from drillcore.backbones.networks.grey_timm import PREFIX as GREY
from drillcore.backbones.networks.grey_timm import build_grey_timm
from drillcore.backbones.networks.plankton_cnn import build_plankton_cnn
from drillcore.backbones.networks.squeezenet import build_squeezenet
from drillcore.backbones.networks.timm_networks import PREFIX, build_timm, check_timm, fit_timm, hub_weights, timm_names
from drillcore.backbones.networks.torchvision_networks import DEFAULT_SIZE, build_torchvision, torchvision_names
from drillcore.backbones.networks.vgg import build_vgg16
from drillcore.backbones.preprocessing import from_mean_std
from drillcore.backbones.weights.artifacts import load_artifact
from drillcore.backbones.weights.bought import PACKAGES, BoughtName, add_bought, parse_bought, provide_bought
from drillcore.backbones.weights.named import StoredWeights, WeightsName, add_weights, find_weights, provide_weights
from drillcore.backbones.weights.tensors import Fit, fitting_tensors, load_weights_file, parse_tensors
from drillcore.errors import InputError, UnknownNameError
from drillcore.plugins import BACKBONES as GROUP
from drillcore.plugins import load_plugin, names
from drillcore.settings import Settings

WEIGHTS_FORMS = (
    "seed:N, sha256:DIGEST of a trained backbone, MODEL@VERSION of one trained for a model, "
    "FILE.safetensors#sha256=DIGEST, hub:OWNER/NAME@REVISION"
)
_SEED = re.compile(r"seed:(\d{1,9})")
_DIGEST = re.compile(r"sha256:([0-9a-f]{64})")
_FILE = re.compile(r"(.+\.safetensors)#sha256=([0-9a-f]{64})")
_NAMED = re.compile(r"(?:torchvision:)?[A-Za-z]\w*(?:\.\w+)?")
VERSION = re.compile(r"([a-z][a-z0-9]*(?:-[a-z0-9]+)*)@(\d{1,9})")
NAMED_FORM = "a name torchvision gives weights, such as IMAGENET1K_V1"


# Height and width of a backbone's input; "any": as the image is; None: the backbone's own.
Resize = Sequence[int] | Literal["any"] | None


@dataclass(frozen=True, slots=True)
class Entry:
    """How a backbone of the catalogue is made.

    Attributes:
        build: (units, seed, resize) to an untrained backbone; `units` is None for one without classes.
        trainable: it has classes of its own and `training.train` can train it.
        torchvision: the torchvision network whose named weights it takes; "": none.
        timm: whether it is one of timm's.
        colour: the backbone for colour images whose weights it can begin with (`load_colour` of its module); "": none.
    """

    build: Callable[[int | None, int, Resize], Backbone]
    trainable: bool
    torchvision: str = ""
    timm: bool = False
    colour: str = ""


def _plankton(architecture: str) -> Entry:
    def build(units: int | None, seed: int, resize: Resize) -> Backbone:
        if units is None:
            raise InputError(f"{architecture} needs the number of classes")
        if resize is not None:
            raise InputError(f"{architecture} has an input size of its own; leave resize out")
        made = build_plankton_cnn(architecture, units, seed=seed)
        made.row_taps = tuple([name for name, tap in made.taps.items() if tap.stride > 0][-1:])
        return made

    return Entry(build, trainable=True)


class _GreyBuilder(Protocol):
    def __call__(self, *, units: int, seed: int, resize: Sequence[int] | None) -> Backbone: ...


def _grey(name: str, builder: _GreyBuilder, colour: str, torchvision: str = "") -> Entry:
    def build(units: int | None, seed: int, resize: Resize) -> Backbone:
        if units is None or isinstance(resize, str):
            raise InputError(f"{name} is a classifier: it needs the number of classes, and an input size")
        return builder(units=units, seed=seed, resize=resize)

    return Entry(build, trainable=True, torchvision=torchvision, timm=not torchvision, colour=colour)


class _Builder(Protocol):
    def __call__(self, *, seed: int, resize: Sequence[int] | None) -> Backbone: ...


def _pretrained(network: str, builder: _Builder) -> Entry:
    def build(units: int | None, seed: int, resize: Resize) -> Backbone:
        return builder(seed=seed, resize=None if isinstance(resize, str) else resize or DEFAULT_SIZE)

    return Entry(build, trainable=False, torchvision=network)


def _timm(name: str) -> Entry:
    def build(units: int | None, seed: int, resize: Resize) -> Backbone:
        any_size = isinstance(resize, str)
        return build_timm(name, seed=seed, resize=None if isinstance(resize, str) else resize, any_size=any_size)

    return Entry(build, trainable=False, timm=True)


_TORCHVISION = "torchvision:"
BACKBONES: dict[str, Entry] = {
    "cnn1": _plankton("cnn1"),
    "cnn2": _plankton("cnn2"),
    "cnn3": _plankton("cnn3"),
    "squeezenet1_0": _pretrained("squeezenet1_0", build_squeezenet),
    GREY_SQUEEZENET: _grey(GREY_SQUEEZENET, build_grey_squeezenet, "squeezenet1_0", "squeezenet1_0"),
    "vgg16": _pretrained("vgg16", build_vgg16),
    "alexnet_conv": _pretrained("alexnet", build_alexnet_conv),
    "vgg16_conv": _pretrained("vgg16", build_vgg16_conv),
}


def get_entry(name: str) -> Entry:
    """Return the entry of a backbone.

    Besides the table's names each classification network of torchvision is one, as "resnet18" or, in full,
    "torchvision:resnet18"; the full name is needed where the table has one with taps of its own ("torchvision:vgg16").
    Each of timm's networks is one as "timm:tf_efficientnet_lite0", and for grey images, to be trained, as
    "grey:tf_efficientnet_lite0". A package adds one by an `Entry` under `drillcore.backbones`.

    Raises:
        UnknownNameError: names the known ones.
    """
    if name in BACKBONES:
        return BACKBONES[name]
    offered: Entry | None = load_plugin(GROUP, name, Entry)
    if offered is not None:
        return offered
    if name.startswith(PREFIX):
        check_timm(name)
        return _timm(name)
    if name.startswith(GREY):
        return _grey(name, partial(build_grey_timm, name), PREFIX + check_timm(name.removeprefix(GREY)))
    network, known = name.removeprefix(_TORCHVISION), torchvision_names()
    if network not in known:
        hint = f"timm has it as {PREFIX}{name}" if name in timm_names() else f"timm's networks are {PREFIX}NAME"
        others = [f"{_TORCHVISION}{other}" for other in known]
        raise UnknownNameError("backbone", name, [*names(GROUP, BACKBONES), *others], hint=hint)
    return _pretrained(network, lambda *, seed, resize: build_torchvision(network, seed=seed, resize=resize))


def build_backbone(
    name: str,
    weights: str,
    settings: Settings,
    *,
    units: int | None = None,
    resize: Sequence[int] | None = None,
    any_size: bool = False,
) -> Backbone:
    """Return a frozen backbone with its weights.

    Args:
        name: of the catalogue.
        weights: `seed:N` (random), `sha256:DIGEST` (a trained artifact), `FILE.safetensors#sha256=DIGEST`, those of a
            package or the hub (`weights.bought`), or a name of torchvision's (`weights.named`), with its preprocessing.
        settings: where artifacts are; a relative FILE is under its root.
        units: number of classes, for those that have classes.
        resize: height and width of the input, for those that take any; None: the backbone's own, 224 x 224 for most.
        any_size: images come as they are, unresized; taps are maps then, and `Tap.flat` is 0.

    Raises:
        UnknownNameError: no such backbone, or no such named weights.
        InputError: weights that cannot be meant or do not fit.
        IntegrityError: weights that are not what their digest says.
    """
    entry = get_entry(name)
    if any_size and resize is not None:
        raise InputError(f"{name} cannot have both resize and any_size")
    size: Resize = "any" if any_size else resize
    if match := _SEED.fullmatch(weights):
        return entry.build(units, int(match[1]), size)
    if match := _DIGEST.fullmatch(weights):
        return load_artifact(settings, name, match[1], lambda artifact: entry.build(artifact.units, 0, size))
    if match := _FILE.fullmatch(weights):
        backbone = entry.build(units, 0, size)
        return load_weights_file(backbone, settings.root / Path(match[1]), match[2], _fit(entry, backbone))
    if VERSION.fullmatch(weights):
        raise InputError(
            f"weights {weights} name a registered version; only a retrain, which asks the registry, has them"
        )
    if entry.colour:
        colour = build_backbone(entry.colour, weights, settings)  # first: what is missing is said at once
        return _begun_in_colour(entry.build(units, 0, size), colour)
    if bought := parse_bought(weights, name):
        path, sha256 = provide_bought(settings, bought)  # before the network is built: what is missing is said at once
        backbone = entry.build(units, 0, size)
        return load_weights_file(backbone, path, sha256, _fit(entry, backbone))
    found = _named(name, entry, weights)
    return _with_named_weights(settings, entry.build(units, 0, size), found)


def default_weights(name: str) -> str:
    """Return where a backbone's weights come from unless something else is said; raises UnknownNameError.

    A package where there is one, torchvision's or the hub's ImageNet weights, or a seed for those that are trained.
    """
    entry = get_entry(name)
    packages = {network: package for package, network in PACKAGES.items()}
    if name in packages:
        return f"package:{packages[name]}"
    if entry.timm:
        return hub_weights(name)
    return "seed:7" if entry.trainable or not entry.torchvision else "IMAGENET1K_V1"


def check_weights(name: str, weights: str) -> None:
    """Check what a recipe says of a backbone's weights, without looking for them; raises as `build_backbone`."""
    entry = get_entry(name)
    if any(form.fullmatch(weights) for form in (_SEED, _DIGEST, _FILE, VERSION)):
        return
    if entry.colour:
        check_weights(entry.colour, weights)
    elif not parse_bought(weights, name):
        _named(name, entry, weights)


def _fit(entry: Entry, backbone: Backbone) -> Fit | None:
    return (lambda tensors: fit_timm(backbone, tensors)) if entry.timm else None


def _named(name: str, entry: Entry, weights: str) -> WeightsName:
    if entry.torchvision and _NAMED.fullmatch(weights):
        return find_weights(weights, entry.torchvision)
    forms = f"{WEIGHTS_FORMS}, or {NAMED_FORM}" if entry.torchvision else WEIGHTS_FORMS
    forms += ", package:NAME of an installed one" if entry.timm else ""
    raise InputError(f"weights {weights!r} of {name} cannot be read; allowed: {forms}")


def add_named_weights(settings: Settings, file: Path, name: str) -> StoredWeights:
    """Bring a file into the weights folder, once it is known to fit the network it is named for.

    Args:
        settings: where the folder is.
        file: .safetensors or .pth.
        name: for instance "squeezenet1_0.IMAGENET1K_V1", or "hub:timm/resnet18.a1_in1k@REVISION".

    Raises:
        UnknownNameError: no such network or weights.
        InputError: no such file, or one that does not fit.
        IntegrityError: a damaged file.
    """
    if bought := parse_bought(name):
        _check_fit(bought, file)
        return add_bought(settings, bought, file)
    found = find_weights(name)
    return add_weights(settings, found, file, get_entry(found.network).build(None, 0, None).module)


def _check_fit(name: BoughtName, file: Path) -> None:
    """Compare a file with timm's network of the name it has on the hub, where timm knows one; raises as the caller."""
    network = name.name.rpartition("/")[2]
    if name.kind != "hub" or network.partition(".")[0] not in timm_names() or file.suffix != ".safetensors":
        return
    if file.is_file():
        backbone = build_timm(network.partition(".")[0])
        tensors = fit_timm(backbone, parse_tensors(file.read_bytes(), file.name))
        fitting_tensors(backbone.module, tensors, f"{file.name} (as {name.text})")


def _begun_in_colour(backbone: Backbone, colour: Backbone) -> Backbone:
    """Return a backbone for grey images that begins with the weights of one for colour images."""
    backbone.module.load_colour(colour.module.state_dict())  # type: ignore[operator]
    backbone.weights_sha256 = weights_digest(backbone.module)
    return backbone


def _with_named_weights(settings: Settings, backbone: Backbone, name: WeightsName) -> Backbone:
    path, sha256 = provide_weights(settings, name, backbone.module)
    load_weights_file(backbone, path, sha256)
    if name.constants is not None:
        backbone.preprocessing = from_mean_std(*name.constants, backbone.resize)
    return backbone
