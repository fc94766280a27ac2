"""A seeded fuzzer of image and model files, and the process in which each file is tried: it has little memory.

Run as a program: `python hostile_files.py images|models FIRST COUNT` tries so many files and prints what came of them
as JSON. A number before each attempt stands in the standard error, so that a crash names its file.
"""

from __future__ import annotations

import io
import json
import random
import resource
import struct
import sys
import tempfile
import zlib
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import tiny_models
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

MAX_PIXELS = 4_000_000
MEMORY = 3 * 2**30  # address space in bytes; most of it is libraries
SUFFIXES = {"JPEG": ".jpg", "PNG": ".png", "WEBP": ".webp", "TIFF": ".tif", "BMP": ".bmp"}
_EXTREMES = (0, 1, 0x7F, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFF, 50_000)


def image_seeds() -> list[tuple[str, bytes]]:
    """Small valid images of all formats and many modes: (format, bytes)."""
    rng = np.random.default_rng(0)
    colour = Image.fromarray(rng.integers(0, 256, (23, 31, 3), np.uint8))
    grey = colour.convert("L")
    exif = Image.Exif()
    exif[0x0112] = 6
    recipes: list[tuple[Image.Image, str, dict[str, Any]]] = [
        (grey, "JPEG", {}),
        (colour, "JPEG", {"progressive": True, "exif": exif}),
        (colour.convert("CMYK"), "JPEG", {}),
        (grey, "PNG", {}),
        (colour.convert("P"), "PNG", {"transparency": 3}),
        (colour.convert("RGBA"), "PNG", {"exif": exif}),
        (Image.fromarray(rng.integers(0, 65536, (9, 8), np.uint16)), "PNG", {}),
        (colour, "WEBP", {"lossless": True}),
        (colour.convert("RGBA"), "WEBP", {"exif": exif}),
        (grey, "WEBP", {}),
        (grey, "TIFF", {}),
        (colour, "TIFF", {"compression": "tiff_lzw"}),
        (colour, "TIFF", {"compression": "jpeg"}),
        (grey, "TIFF", {"compression": "tiff_adobe_deflate", "exif": exif}),
        (Image.fromarray(rng.normal(-10, 9, (12, 13)).astype(np.float32)), "TIFF", {}),
        (grey.convert("1"), "TIFF", {"compression": "group4"}),
        (colour.convert("P"), "TIFF", {"compression": "packbits"}),
        (colour.convert("RGBA"), "TIFF", {"compression": "tiff_lzw", "big_tiff": True}),
        (colour.convert("CMYK"), "TIFF", {}),
        (Image.fromarray(rng.integers(0, 65536, (9, 8), np.uint16)), "TIFF", {"compression": "zstd"}),
        (colour, "BMP", {}),
        (grey.convert("P"), "BMP", {}),
        (grey.convert("1"), "BMP", {}),
    ]
    seeds = []
    for image, kind, options in recipes:
        stream = io.BytesIO()
        image.save(stream, kind, **options)
        seeds.append((kind, stream.getvalue()))
    return [*seeds, *(("TIFF", data) for data in _rare_tiffs(rng))]


def _rare_tiffs(rng: np.random.Generator) -> list[bytes]:
    """TIFFs that Pillow does not write: planes apart, tiles, predictors, packed bits, overviews; classic and big."""
    wide = rng.integers(0, 65536, (3, 40, 50)).astype("<u2")
    floats = np.cumsum(rng.normal(0, 1, (40, 50)), axis=1).astype("<f4")
    columns = np.zeros((48, 64), "<f4")
    columns[:40, :50] = floats
    tiles = [columns[top : top + 16, left : left + 32] for top in (0, 16, 32) for left in (0, 32)]
    bits = np.packbits(np.unpackbits(rng.integers(0, 256, (40, 75), np.uint8), axis=1), axis=1)
    base = {256: 50, 257: 40, 262: 1, 277: 1}
    return [
        _tiff({**base, 258: 16, 259: 1, 262: 2, 277: 3, 278: 40, 284: 2}, [plane.tobytes() for plane in wide]),
        _tiff({**base, 258: 32, 259: 8, 317: 3, 322: 32, 323: 16, 339: 3}, [_float_rows(tile) for tile in tiles]),
        _tiff({**base, 258: 12, 259: 8, 262: 0, 278: 40}, [zlib.compress(bits.tobytes())]),
        _tiff({**base, 258: 16, 259: 8, 278: 40, 317: 2}, [zlib.compress(wide[0].tobytes())], overview=True),
        _tiff({**base, 258: 64, 259: 1, 278: 40, 339: 3}, [floats.astype("<f8").tobytes()], overview=True),
    ]


def _float_rows(tile: np.ndarray) -> bytes:
    planes = np.moveaxis(tile.astype(">f4").view(np.uint8).reshape(*tile.shape, 4), 2, 1).reshape(tile.shape[0], -1)
    return zlib.compress(np.diff(planes, axis=1, prepend=np.uint8(0)).tobytes())


def _tiff(tags: dict[int, int], segments: list[bytes], overview: bool = False) -> bytes:
    """A classic TIFF with little end first; an overview is a second directory with the same pixels."""
    data, places = bytearray(8), []
    for segment in segments:
        places.append(len(data))
        data += segment + bytes(len(segment) % 2)
    where, lengths = (324, 325) if 322 in tags else (273, 279)
    arrays = len(data)
    data += struct.pack(f"<{2 * len(places)}I", *places, *map(len, segments))
    for last in (False, True) if overview else (True,):
        start = len(data)
        if last and overview:
            tags = {**tags, 254: 1}
        else:
            data[:8] = b"II*\0" + struct.pack("<I", start)
        lists = {where: arrays, lengths: arrays + 4 * len(places)}
        if len(places) == 1:
            lists = {where: places[0], lengths: len(segments[0])}
        entries = sorted({**tags, **lists}.items())
        data += struct.pack("<H", len(entries))
        for tag, value in entries:
            data += struct.pack("<HHII", tag, 4, len(places) if tag in lists else 1, value)
        data += struct.pack("<I", 0 if last else len(data) + 4)
    return bytes(data)


def _flip(data: bytearray, rng: random.Random) -> None:
    for _ in range(rng.choice((1, 3, 20))):
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)


def _flip_head(data: bytearray, rng: random.Random) -> None:
    for _ in range(rng.choice((1, 2, 6))):
        data[rng.randrange(min(len(data), 80))] = rng.randrange(256)


def _cut(data: bytearray, rng: random.Random) -> None:
    del data[rng.randrange(len(data)) :]


def _extreme(data: bytearray, rng: random.Random) -> None:
    value, order = rng.choice(_EXTREMES), rng.choice("<>")
    raw = struct.pack(order + "I", value) if value > 0xFFFF else struct.pack(order + "H", value)
    at = rng.randrange(max(1, min(len(data), rng.choice((64, 1000))) - len(raw)))
    data[at : at + len(raw)] = raw


def _repeat(data: bytearray, rng: random.Random) -> None:
    start = rng.randrange(len(data))
    part = data[start : start + rng.randrange(1, 200)]
    data[start:start] = part * rng.choice((1, 2, 500))


def _drop(data: bytearray, rng: random.Random) -> None:
    start = rng.randrange(len(data))
    del data[start : start + rng.randrange(1, 60)]


def _fill(data: bytearray, rng: random.Random) -> None:
    start = rng.randrange(len(data))
    length = min(rng.randrange(1, 200), len(data) - start)
    data[start : start + length] = bytes([rng.choice((0, 255))]) * length


def _noise(data: bytearray, rng: random.Random) -> None:
    keep = rng.choice((0, 4, 12, 30))
    data[keep:] = rng.randbytes(rng.randrange(1, 2000))


def _append(data: bytearray, rng: random.Random) -> None:
    data += rng.choice((b"%!PS-Adobe", bytes(1000), b"PK\x03\x04", bytes(data)))


def _entry(data: bytearray, rng: random.Random) -> None:
    """Change a number in the first directory of a classic TIFF; elsewhere, any byte."""
    start = int.from_bytes(data[4:8], "little") if data[:4] == b"II*\0" else len(data)
    if start + 14 > len(data):
        return _flip(data, rng)
    at = start + 2 + 12 * rng.randrange(int.from_bytes(data[start : start + 2], "little") or 1)
    part, width = rng.choice(((0, 2), (2, 2), (4, 4), (8, 4)))
    value = rng.choice((*_EXTREMES, 2, 3, 5, 12, 16, 32, 64, 317, 339, rng.randrange(2**16)))
    data[at + part : at + part + width] = (value & (256**width - 1)).to_bytes(width, "little")
    return None


BYTE_MUTATIONS: tuple[Callable[[bytearray, random.Random], None], ...] = (
    *(_flip, _flip_head, _cut, _extreme, _repeat, _drop, _fill, _noise, _append, _entry),
)


def mutated_image(number: int, seeds: list[tuple[str, bytes]]) -> tuple[str, bytes]:
    """The file `number`: a name and its bytes. Kinds of mutation and seeds take turns."""
    rng = random.Random(number)
    kind, data = seeds[(number // len(BYTE_MUTATIONS)) % len(seeds)]
    changed = bytearray(data)
    BYTE_MUTATIONS[number % len(BYTE_MUTATIONS)](changed, rng)
    if rng.random() < 0.2 and changed:
        rng.choice(BYTE_MUTATIONS)(changed, rng)
    suffix = SUFFIXES[kind] if rng.random() < 0.9 else rng.choice(list(SUFFIXES.values()))
    return f"{number}{suffix}", bytes(changed)


def model_seeds() -> list[onnx.ModelProto]:
    """Small valid models: the tiny one, one of layers, one with a forest."""
    return [tiny_models.tiny_model(), _layers(), _forest()]


def _assemble(nodes: list[Any], constants: dict[str, np.ndarray]) -> onnx.ModelProto:
    tail = helper.make_node("ArgMax", ["probabilities"], ["label"], axis=1, keepdims=0)
    graph = helper.make_graph(
        [*nodes, tail],
        "seed",
        [helper.make_tensor_value_info("images", TensorProto.UINT8, ["N", "H", "W", 1])],
        [
            helper.make_tensor_value_info("label", TensorProto.INT64, ["N"]),
            helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["N", 3]),
        ],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    opsets = [helper.make_opsetid("", 20), helper.make_opsetid("ai.onnx.ml", 3)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=10)
    helper.set_model_props(model, {"drillcore": tiny_models.tiny_metadata().to_json()})
    return model


def _layers() -> onnx.ModelProto:
    rng = np.random.default_rng(1)
    node = helper.make_node
    nodes = [
        node("Cast", ["images"], ["pixels"], to=TensorProto.FLOAT),
        node("Transpose", ["pixels"], ["planes"], perm=[0, 3, 1, 2]),
        node("Resize", ["planes", "", "", "target"], ["resized"], mode="linear"),
        node("Conv", ["resized", "kernel", "bias"], ["maps"], kernel_shape=[3, 3], pads=[1, 1, 1, 1], strides=[2, 2]),
        node("Relu", ["maps"], ["active"]),
        node("MaxPool", ["active"], ["pooled"], kernel_shape=[2, 2], strides=[2, 2]),
        node("Pad", ["pooled", "pads"], ["padded"]),
        node("GlobalAveragePool", ["padded"], ["means"]),
        node("Reshape", ["means", "rows"], ["flat"]),
        node("Gemm", ["flat", "matrix"], ["logits"]),
        node("Softmax", ["logits"], ["probabilities"], axis=1),
    ]
    return _assemble(
        nodes,
        {
            "target": np.array([1, 1, 24, 24]),
            "kernel": rng.normal(0, 0.1, (4, 1, 3, 3)).astype(np.float32),
            "bias": np.zeros(4, np.float32),
            "pads": np.array([0, 0, 1, 1, 0, 0, 1, 1]),
            "rows": np.array([-1, 4]),
            "matrix": rng.normal(0, 1, (4, 3)).astype(np.float32),
        },
    )


def _forest() -> onnx.ModelProto:
    node = helper.make_node
    tables = {
        "nodes_treeids": [0] * 3 + [1] * 5,
        "nodes_nodeids": [0, 1, 2, 0, 1, 2, 3, 4],
        "nodes_featureids": [0, 0, 0, 0, 0, 0, 0, 0],
        "nodes_truenodeids": [1, 0, 0, 1, 2, 0, 0, 0],
        "nodes_falsenodeids": [2, 0, 0, 4, 3, 0, 0, 0],
        "nodes_modes": ["BRANCH_LEQ", "LEAF", "LEAF", "BRANCH_LEQ", "BRANCH_LEQ", "LEAF", "LEAF", "LEAF"],
        "nodes_values": [90.0, 0, 0, 160.0, 40.0, 0, 0, 0],
        "target_treeids": [0, 0, 1, 1, 1],
        "target_nodeids": [1, 2, 2, 3, 4],
        "target_ids": [0, 1, 2, 1, 0],
        "target_weights": [1.0] * 5,
        "n_targets": 3,
    }
    nodes = [
        node("Cast", ["images"], ["pixels"], to=TensorProto.FLOAT),
        node("ReduceMean", ["pixels", "axes"], ["mean"], keepdims=0),
        node("Unsqueeze", ["mean", "one"], ["rows"]),
        node("TreeEnsembleRegressor", ["rows"], ["votes"], domain="ai.onnx.ml", **tables),
        node("Div", ["votes", "trees"], ["probabilities"]),
    ]
    return _assemble(nodes, {"axes": np.array([1, 2, 3]), "one": np.array([1]), "trees": np.array([2], np.float32)})


def _mutate_attribute(model: Any, rng: random.Random) -> None:
    attributes = [item for node in model.graph.node for item in node.attribute]
    item = rng.choice(attributes)
    value = rng.choice((-1, 0, 1, 2**31 - 1, 2**40, -(2**62), rng.randrange(-9, 99)))
    if item.ints:
        item.ints[rng.randrange(len(item.ints))] = value
    elif item.strings:
        item.strings[rng.randrange(len(item.strings))] = rng.choice((b"", b"LEAF", b"BRANCH_EQ", b"\xff\xfe"))
    else:
        item.i = value


def _mutate_operator(model: Any, rng: random.Random) -> None:
    names = "Add MatMul Concat Expand Tile Range ConstantOfShape Reshape Gather Loop Custom TopK Conv ReduceSum Shape"
    rng.choice(model.graph.node).op_type = rng.choice(names.split())


def _mutate_wiring(model: Any, rng: random.Random) -> None:
    names = [name for node in model.graph.node for name in (*node.input, *node.output)]
    node = rng.choice([item for item in model.graph.node if item.input])
    node.input[rng.randrange(len(node.input))] = rng.choice([*names, "", "nowhere"])


def _mutate_constant(model: Any, rng: random.Random) -> None:
    tensor = rng.choice(model.graph.initializer)
    how = rng.randrange(4)
    if how == 0:
        array = numpy_helper.to_array(tensor).copy()
        array.flat[rng.randrange(array.size)] = rng.choice((-1, 0, 2**30, 1e9, 7))
        tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))
    elif how == 1:
        tensor.dims[:] = [rng.choice((0, -1, 3, 2**40))] * rng.randrange(1, 5)
    elif how == 2:
        tensor.data_type = rng.randrange(0, 25)
    else:
        tensor.raw_data = rng.randbytes(rng.randrange(64))


def _mutate_nodes(model: Any, rng: random.Random) -> None:
    nodes = list(model.graph.node)
    rng.choice((nodes.reverse, lambda: nodes.pop(rng.randrange(len(nodes))), lambda: nodes.append(nodes[0])))()
    copies = [type(node).FromString(node.SerializeToString()) for node in nodes]
    del model.graph.node[:]
    model.graph.node.extend(copies)


def _mutate_outside(model: Any, rng: random.Random) -> None:
    tensor = rng.choice(model.graph.initializer)
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    place = rng.choice(("/etc/passwd", "../../../../etc/passwd", "model.onnx", "C:\\x", "\0"))
    tensor.external_data.add(key="location", value=place)


def _mutate_header(model: Any, rng: random.Random) -> None:
    choice = rng.randrange(5)
    if choice == 0:
        model.opset_import[0].version = rng.choice((0, 1, 7, 21, 999, -1))
    elif choice == 1:
        model.ir_version = rng.choice((0, 3, 99, -1))
    elif choice == 2:
        model.metadata_props[0].value = model.metadata_props[0].value[: rng.randrange(200)]
    elif choice == 3:
        dims = model.graph.input[0].type.tensor_type.shape.dim
        dims[rng.randrange(len(dims))].dim_value = rng.choice((-1, 0, 2**40, 3))
    else:
        model.graph.output[0].name = rng.choice(("", "images", "nowhere"))


STRUCTURE_MUTATIONS: tuple[Callable[[Any, random.Random], None], ...] = (
    *(_mutate_attribute, _mutate_operator, _mutate_wiring, _mutate_constant),
    *(_mutate_nodes, _mutate_outside, _mutate_header),
)


def mutated_model(number: int, seeds: list[onnx.ModelProto]) -> bytes:
    """The model file `number`; every third one is changed byte by byte, the others part by part."""
    rng = random.Random(number)
    model = onnx.ModelProto()
    model.CopyFrom(seeds[(number // 3) % len(seeds)])
    if number % 3 == 0:
        data = bytearray(model.SerializeToString())
        BYTE_MUTATIONS[(number // 9) % len(BYTE_MUTATIONS)](data, rng)
        return bytes(data)
    STRUCTURE_MUTATIONS[(number // 9) % len(STRUCTURE_MUTATIONS)](model, rng)
    if rng.random() < 0.3:
        rng.choice(STRUCTURE_MUTATIONS)(model, rng)
    return bytes(model.SerializeToString())


def try_images(numbers: range) -> Counter[str]:
    """Decode each file twice; anything but an array or a `BadImageError` is raised."""
    from drillcore.errors import BadImageError
    from drillcore.runtime.images.decode import decode_bytes
    from drillcore.runtime.images.image_files import REASONS

    outcome: Counter[str] = Counter()
    seeds = image_seeds()
    for number in numbers:
        print(number, file=sys.stderr, flush=True)
        name, data = mutated_image(number, seeds)
        try:
            array = decode_bytes(data, 1 + 2 * (number % 2), max_pixels=MAX_PIXELS, name=name)
            again = decode_bytes(data, 1 + 2 * (number % 2), max_pixels=MAX_PIXELS, name=name)
            require(array.dtype == np.uint8 and array.ndim == 3, f"{array.dtype} {array.shape}")
            require(0 < array.shape[0] * array.shape[1] <= MAX_PIXELS, f"{array.shape}")
            require(np.array_equal(array, again), "two answers to one file")
            outcome["decoded"] += 1
        except BadImageError as error:
            require(error.reason in REASONS and str(error).isprintable(), f"a refusal such as {str(error)!r}")
            outcome[error.reason] += 1
    return outcome


def try_models(numbers: range) -> Counter[str]:
    """Open each model and classify with it; anything but an answer or a typed refusal is raised."""
    from drillcore.errors import InputError, UnsafeModelError
    from drillcore.runtime.model.session import open_model

    outcome: Counter[str] = Counter()
    seeds = model_seeds()
    image = np.full((9, 14, 1), 100, np.uint8)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        for number in numbers:
            print(number, file=sys.stderr, flush=True)
            path.write_bytes(mutated_model(number, seeds))
            try:
                model = open_model(path, threads=1)
                require(model.classify([image]).probabilities.shape == (1, 3), "an answer of another shape")
                outcome["answered"] += 1
            except (UnsafeModelError, InputError) as error:
                require("\n" not in str(error), f"a refusal of several lines: {str(error)!r}")
                outcome["refused" if isinstance(error, UnsafeModelError) else "failed to answer"] += 1
    return outcome


def require(fact: bool, text: str) -> None:
    """End the process where a file has got further than it may."""
    if not fact:
        raise SystemExit(f"found: {text}")


def peak_memory() -> int:
    """Return the most memory this program has had, bytes.

    Not ru_maxrss: that begins with what the process was before it became this program, a test worker with torch in it.
    """
    (line,) = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM:")]
    return int(line.split()[1]) * 1024


def main() -> None:
    """Try the files asked for in little memory."""
    what, first, count = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    if what == "models":
        import onnxruntime  # noqa: F401 - its libraries are mapped before the limit counts
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY, used + MEMORY))
    numbers = range(first, first + count)
    outcome = try_images(numbers) if what == "images" else try_models(numbers)
    print(json.dumps({"outcome": outcome, "peak": peak_memory()}))


if __name__ == "__main__":
    main()
