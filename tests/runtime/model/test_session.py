"""Opening and running a model whose answers are known by hand."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from drillcore.digests import sha256_file
from drillcore.errors import DeviceError, InputError, IntegrityError, UnsafeModelError
from drillcore.runtime.batch.planning import pad_batch
from drillcore.runtime.model import session as session_module
from drillcore.runtime.model.session import cuda_devices, open_model


def pictures(count: int = 7, channels: int = 1) -> list[np.ndarray]:
    rng = np.random.default_rng(5)
    return [
        rng.integers(0, 256, (int(h), int(w), channels), np.uint8) // (1 + i % 3)
        for i, (h, w) in enumerate(rng.integers(1, 40, (count, 2)))
    ]


def test_answers_are_those_worked_out_by_hand(tiny_model_file: Path, tiny_models: ModuleType) -> None:
    model = open_model(tiny_model_file, threads=1)
    images = pictures()
    answer = model.classify(images)
    expected = np.stack([tiny_models.expected_probabilities(image) for image in images])
    assert answer.label.dtype == np.int64
    assert answer.probabilities.dtype == np.float32
    np.testing.assert_allclose(answer.probabilities, expected, atol=1e-5)
    np.testing.assert_array_equal(answer.label, expected.argmax(axis=1))


@pytest.mark.parametrize("batch", [1, 3, 64])
def test_batches_answer_as_single_images(tiny_model_file: Path, batch: int) -> None:
    model = open_model(tiny_model_file, threads=1)
    images = pictures(batch)
    together = model.classify(images)
    canvas, sizes = pad_batch(images)
    padded = model.run(canvas, sizes)
    for index, image in enumerate(images):
        alone = model.run(image[None])
        np.testing.assert_allclose(alone["probabilities"][0], together.probabilities[index], atol=1e-6)
        np.testing.assert_allclose(alone["probabilities"][0], padded["probabilities"][index], atol=1e-6)


def test_no_images_give_no_rows(tiny_model_file: Path) -> None:
    answer = open_model(tiny_model_file).classify([])
    assert answer.label.shape == (0,)
    assert answer.probabilities.shape == (0, 3)


def test_only_the_outputs_asked_for(tiny_model_file: Path) -> None:
    model = open_model(tiny_model_file)
    assert list(model.run(pictures(1)[0][None], outputs=["label"])) == ["label"]
    with pytest.raises(InputError, match="known: label, probabilities"):
        model.run(pictures(1)[0][None], outputs=["labels"])


def test_facts_of_an_open_model(tiny_model_file: Path, tiny_models: ModuleType) -> None:
    digest = sha256_file(tiny_model_file)
    model = open_model(tiny_model_file, sha256=digest, device="cpu")
    assert model.sha256 == digest
    assert model.path == tiny_model_file
    assert model.providers == ["CPUExecutionProvider"]
    assert model.metadata == tiny_models.tiny_metadata()
    assert model.inputs == ["images", "sizes"]


def test_colour_models(tmp_path: Path, tiny_models: ModuleType) -> None:
    described = {"channels": 3, "resize": None, "preprocessing": {}}
    path = tiny_models.write_tiny_model(tmp_path / "colour.onnx", input=described)
    image = pictures(1, 3)[0]
    np.testing.assert_allclose(
        open_model(path).classify([image]).probabilities[0], tiny_models.expected_probabilities(image), atol=1e-5
    )


@pytest.mark.parametrize(
    ("canvas", "sizes"),
    [
        (np.zeros((2, 4, 4), np.uint8), None),
        (np.zeros((2, 4, 4, 3), np.uint8), None),
        (np.zeros((2, 4, 4, 1), np.float32), None),
        (np.zeros((0, 4, 4, 1), np.uint8), None),
        (np.zeros((2, 4, 4, 1), np.uint8), np.array([[4, 4]], np.int32)),
        (np.zeros((2, 4, 4, 1), np.uint8), np.array([[4, 4], [5, 4]], np.int32)),
        (np.zeros((2, 4, 4, 1), np.uint8), np.array([[4, 4], [0, 4]], np.int32)),
        (np.zeros((2, 4, 4, 1), np.uint8), np.array([[4.0, 4], [4, 4]])),
    ],
)
def test_arrays_that_do_not_fit_are_refused(tiny_model_file: Path, canvas: np.ndarray, sizes: np.ndarray) -> None:
    with pytest.raises(InputError):
        open_model(tiny_model_file).run(canvas, sizes)


def test_images_that_do_not_fit_are_refused(tiny_model_file: Path) -> None:
    model = open_model(tiny_model_file)
    for image in (np.zeros((3, 3), np.uint8), np.zeros((3, 3, 3), np.uint8), np.zeros((3, 3, 1))):
        with pytest.raises(InputError):
            model.classify([image])


def test_digest_must_fit(tiny_model_file: Path) -> None:
    with pytest.raises(IntegrityError, match="expected"):
        open_model(tiny_model_file, sha256="0" * 64)


def test_files_that_are_no_models(tmp_path: Path) -> None:
    for name, data in (("empty", b""), ("text", b"hello"), ("zeros", bytes(1000)), ("png", b"\x89PNG\r\n\x1a\n")):
        path = tmp_path / f"{name}.onnx"
        path.write_bytes(data)
        with pytest.raises(UnsafeModelError) as caught:
            open_model(path)
        assert "\n" not in str(caught.value)
    with pytest.raises(InputError, match="cannot be read"):
        open_model(tmp_path / "absent.onnx")
    with pytest.raises(InputError, match="known: auto, cpu, cuda"):
        open_model(tmp_path / "empty.onnx", device="tpu")


@pytest.mark.skipif(cuda_devices() > 0, reason="there is a CUDA device here")
def test_cuda_without_a_device_is_an_error_and_auto_takes_the_cpu(tiny_model_file: Path) -> None:
    with pytest.raises(DeviceError, match="cpu"):
        open_model(tiny_model_file, device="cuda")
    assert open_model(tiny_model_file, device="auto").providers == ["CPUExecutionProvider"]


@pytest.mark.gpu
@pytest.mark.skipif(cuda_devices() == 0, reason="there is no CUDA device here")
def test_cuda_answers_as_the_cpu(tiny_model_file: Path) -> None:
    fast, exact = open_model(tiny_model_file, device="cuda"), open_model(tiny_model_file)
    assert fast.providers[0] == "CUDAExecutionProvider"
    images = pictures(9)
    np.testing.assert_allclose(fast.classify(images).probabilities, exact.classify(images).probabilities, atol=1e-5)


def test_threads_share_a_model(tiny_model_file: Path) -> None:
    model = open_model(tiny_model_file, threads=1)
    images = pictures(20)
    expected = model.classify(images).probabilities
    wrong: list[float] = []

    def work() -> None:
        difference = float(np.abs(model.classify(images).probabilities - expected).max())
        if difference > 0:
            wrong.append(difference)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_opening_prints_nothing_and_imports_no_trainer(tiny_model_file: Path) -> None:
    code = (
        "import sys, pathlib, numpy as np\n"
        "from drillcore.runtime.model.session import open_model\n"
        "assert 'onnxruntime' not in sys.modules\n"
        f"model = open_model(pathlib.Path({str(tiny_model_file)!r}), device='auto')\n"
        "model.classify([np.zeros((4, 4, 1), np.uint8)])\n"
        "heavy = {'torch', 'sklearn', 'mlflow', 'prefect', 'pandas', 'matplotlib'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    source = Path(session_module.__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, env={"PYTHONPATH": str(source)}
    )
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    if cuda_devices() == 0:
        assert done.stderr == ""
