"""Taps by name of the networks that recipes name most, known without torch: a wrong one is told at once.

The networks themselves are the truth (`Backbone.taps`), and a test holds them against this table. What depends on how a
network is looked through, such as the pooled map of images of any size, is left to them.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator


def _vgg16() -> list[str]:
    return [f"conv{block + 1}_{number + 1}" for block, count in enumerate((2, 2, 3, 3, 3)) for number in range(count)]


def _lite0() -> Iterator[str]:
    """EfficientNet-Lite0 as timm builds it: modules by their path, and what torch.fx calls the sums."""
    yield from ("conv_stem", "bn1", "blocks", "conv_head", "bn2")
    yield from ("global_pool.pool", "global_pool", "global_pool.flatten", "classifier", "pooled")
    for stage, depth in enumerate((1, 2, 2, 3, 3, 4, 1)):
        yield f"blocks.{stage}"
        for number in range(depth):
            block = f"blocks.{stage}.{number}"
            parts = "conv_pw bn1 conv_dw bn2 aa se conv_pwl bn3" if stage else "conv_dw bn1 aa se conv_pw bn2"
            yield block
            yield from (f"{block}.{part}" for part in parts.split())
            yield from (f"{block}.{part}" for part in (("drop_path", "add") if number else ()))


_NAMES: dict[str, Collection[str]] = {
    "cnn1": [f"layer{number}" for number in range(5)],
    "cnn2": [f"layer{number}" for number in range(7)],
    "cnn3": [f"layer{number}" for number in range(4)],
    "squeezenet1_0": ["conv1", *(f"fire{number}" for number in range(2, 10))],
    "squeezenet1_0_grey": ["pooled", "logits"],
    "vgg16": _vgg16(),
    "vgg16_conv": [*_vgg16(), "pool5", "fc6", "fc7"],
    "alexnet_conv": [*(f"conv{number}" for number in range(1, 6)), "pool5", "fc6", "fc7"],
    "timm:tf_efficientnet_lite0": list(_lite0()),
}
KNOWN = tuple(_NAMES)


def tap_names(backbone: str) -> Collection[str] | None:
    """Return the taps of a backbone of the table; None: only the network itself knows."""
    return _NAMES.get(backbone)
