"""Repositories for Triton: their configurations read by the published schema, their files scored."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import tiny_dense
import tiny_models

from drillcore.digests import sha256_bytes
from drillcore.errors import InputError, UnsafeModelError
from drillcore.export.triton import TritonOptions, text_format, write_repository


def model_config() -> Any:
    """The message type of tritonclient. Its package asks for grpc, which is not installed; this module needs none."""
    package = importlib.util.find_spec("tritonclient")
    if package is None or not package.submodule_search_locations:
        pytest.skip("tritonclient is not installed (dependency group dev)")
    path = Path(package.submodule_search_locations[0]) / "grpc" / "model_config_pb2.py"
    spec = importlib.util.spec_from_file_location("model_config_pb2", path)
    assert spec is not None
    assert spec.loader is not None
    if "model_config_pb2" not in sys.modules:
        sys.modules["model_config_pb2"] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules["model_config_pb2"])
    return sys.modules["model_config_pb2"]


def parsed(folder: Path) -> Any:
    from google.protobuf import text_format as reader

    config = model_config().ModelConfig()
    return reader.Parse((folder / "config.pbtxt").read_text(), config)


def write(folder: Path, data: bytes, name: str = "tiny", version: int = 1, **options: Any) -> Path:
    return write_repository(folder, data, name=name, version=version, sha256=sha256_bytes(data), **options)


def tiny(**changes: Any) -> bytes:
    data: bytes = tiny_models.tiny_model(**changes).SerializeToString()
    return data


def test_a_classifier(tmp_path: Path) -> None:
    data = tiny()
    folder = write(tmp_path, data, version=3, options=TritonOptions(batch=16, delay=0.002, instances=2, kind="gpu"))
    assert folder == tmp_path / "tiny"
    schema, config = model_config(), parsed(folder)
    assert (config.name, config.platform, config.max_batch_size) == ("tiny", "onnxruntime_onnx", 16)
    assert [(item.name, item.data_type, list(item.dims)) for item in config.input] == [
        ("images", schema.TYPE_UINT8, [-1, -1, 1])
    ]
    label, probabilities = config.output
    assert (label.name, label.data_type, list(label.dims)) == ("label", schema.TYPE_INT64, [1])
    assert label.HasField("reshape")
    assert list(label.reshape.shape) == []
    assert (probabilities.data_type, list(probabilities.dims)) == (schema.TYPE_FP32, [3])
    assert not probabilities.HasField("reshape")
    assert config.dynamic_batching.max_queue_delay_microseconds == 2000
    assert [(group.count, group.kind) for group in config.instance_group] == [(2, schema.ModelInstanceGroup.KIND_GPU)]
    assert list(config.version_policy.specific.versions) == [3]
    assert config.parameters["drillcore_sha256"].string_value == sha256_bytes(data)
    assert (folder / probabilities.label_filename).read_text().split() == tiny_models.CLASSES
    assert {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file()} == {
        "tiny/config.pbtxt",
        "tiny/labels-3.txt",
        "tiny/3/model.onnx",
    }


@pytest.mark.parametrize(
    ("task", "outputs"),
    [
        ("dense_labels", {"label": ("TYPE_UINT8", [-1, -1]), "probabilities": ("TYPE_FP32", [3, -1, -1])}),
        ("dense_regression", {"value": ("TYPE_FP32", [3, -1, -1])}),
    ],
)
def test_models_that_answer_every_pixel(tmp_path: Path, task: str, outputs: dict[str, Any]) -> None:
    folder = write(tmp_path, tiny_dense.tiny_dense(task).SerializeToString(), "tiny-dense")
    config = parsed(folder)
    kind = model_config().DataType.Name
    assert {item.name: (kind(item.data_type), list(item.dims)) for item in config.output} == outputs
    assert not any(item.label_filename for item in config.output)  # the extension sorts one vector per row


def test_the_file_answers_as_the_original_and_as_the_configuration_says(tmp_path: Path) -> None:
    data = tiny()
    folder = write(tmp_path, data)
    images = np.random.default_rng(3).integers(0, 256, (4, 9, 7, 1), np.uint8)
    answers = []
    for source in (data, str(folder / "1" / "model.onnx")):
        session = onnxruntime.InferenceSession(source, providers=["CPUExecutionProvider"])
        names = [item.name for item in session.get_outputs()]
        answers.append(dict(zip(names, session.run(None, {"images": images}), strict=True)))
    config = parsed(folder)
    assert [item.name for item in session.get_inputs()] == [item.name for item in config.input]
    for item in config.output:
        np.testing.assert_array_equal(answers[0][item.name], answers[1][item.name])
        shape = list(item.reshape.shape) if item.HasField("reshape") else list(item.dims)
        assert list(answers[1][item.name].shape) == [len(images), *shape]
    expected = [tiny_models.expected_probabilities(image) for image in images]
    np.testing.assert_allclose(answers[1]["probabilities"], expected, atol=1e-6)


def test_versions_stand_side_by_side_and_one_is_served(tmp_path: Path) -> None:
    first, second = tiny(), tiny(bias=1.0)
    write(tmp_path, first, version=1)
    folder = write(tmp_path, second, version=2)
    assert list(parsed(folder).version_policy.specific.versions) == [2]
    assert (folder / "1" / "model.onnx").read_bytes() == first
    write(tmp_path, first, version=1)  # back again; the same bytes are no conflict
    assert list(parsed(folder).version_policy.specific.versions) == [1]
    before = (folder / "config.pbtxt").read_bytes()
    with pytest.raises(InputError, match="other bytes"):
        write(tmp_path, second, version=1)
    assert ((folder / "1" / "model.onnx").read_bytes(), (folder / "config.pbtxt").read_bytes()) == (first, before)
    write(tmp_path, second, version=1, overwrite=True)
    assert (folder / "1" / "model.onnx").read_bytes() == second


def test_a_model_of_one_row_gets_no_batches(tmp_path: Path) -> None:
    model = tiny_models.tiny_model()
    for item in (model.graph.input[0], *model.graph.output):
        item.type.tensor_type.shape.dim[0].dim_value = 1
    config = parsed(write(tmp_path, model.SerializeToString()))
    assert (config.max_batch_size, config.HasField("dynamic_batching")) == (0, False)
    assert list(config.input[0].dims) == [1, -1, -1, 1]


def test_what_is_no_model_is_refused_and_nothing_is_written(tmp_path: Path) -> None:
    with pytest.raises(UnsafeModelError):
        write(tmp_path, b"no model")
    with pytest.raises(InputError, match="must be 1 or more"):
        TritonOptions(batch=0)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("text", ['a "quoted" \\ back', "line\nbreak\ttab", "Ärger \u2028 日本", ""])
def test_texts_survive_the_text_format(text: str) -> None:
    from google.protobuf import text_format as reader

    config = reader.Parse(text_format({"name": text}), model_config().ModelConfig())
    assert config.name == text
