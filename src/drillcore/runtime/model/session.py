"""A model file opened for scoring: digest, safety, metadata, then an onnxruntime session on the device asked for."""

from __future__ import annotations

import ctypes
import logging
import os
import re
import threading
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from drillcore.arrays import Array
from drillcore.digests import sha256_bytes
from drillcore.errors import (
    DeviceError,
    ImageTooLargeError,
    InputError,
    IntegrityError,
    NoMemoryError,
    UnsafeModelError,
)
from drillcore.runtime.batch.planning import PYRAMIDS, pad_batch, plan_batches
from drillcore.runtime.dense import answering as dense
from drillcore.runtime.dense.blending import Blending
from drillcore.runtime.images.image_limits import excess
from drillcore.runtime.model.metadata import ModelMetadata
from drillcore.runtime.model.pruning import pruned
from drillcore.runtime.model.safety import MAX_MODEL_BYTES, check_model_bytes
from drillcore.tasks import TASKS

if TYPE_CHECKING:
    import onnxruntime as ort

DEVICES = ("auto", "cpu", "cuda")
_CUDA = "CUDAExecutionProvider"
_CPU = "CPUExecutionProvider"
_LARGE = 2**25  # elements of a canvas: no batch has more, only a large image that goes alone
_NO_MEMORY = ("bad_alloc", "allocat", "bfc_arena", "out of memory", "outofmemory", "memoryerror")
_FATAL_ONLY = 4  # whatever matters is raised; onnxruntime would print it a second time

_LOGGER = logging.getLogger("drillcore.runtime")


@dataclass(frozen=True, slots=True)
class Classification:
    """Answers of a classifier.

    Attributes:
        label: int64 [N], index into the metadata's classes; of several labels the most probable.
        probabilities: float32 [N,K].
    """

    label: npt.NDArray[np.int64]
    probabilities: npt.NDArray[np.float32]


class Model:
    """An open model; may be used by several threads at a time.

    Attributes:
        path: the file it was read from.
        sha256: digest of the bytes that run, read once.
        metadata: what the file says about itself.
        providers: onnxruntime's execution providers in use, the first one preferred.
        inputs: names of the inputs, "images" and perhaps "sizes".
        outputs: names of the outputs in the file's order.
    """

    def __init__(
        self,
        path: Path,
        sha256: str,
        metadata: ModelMetadata,
        session: ort.InferenceSession,
        narrow: Callable[[Collection[str]], ort.InferenceSession] | None = None,
    ) -> None:
        self.path, self.sha256, self.metadata = path, sha256, metadata
        self.providers: list[str] = session.get_providers()
        # get_overridable_initializers: `sizes` is not among the inputs since it has a default.
        overridable = [item.name for item in session.get_overridable_initializers()]
        self.inputs: list[str] = [item.name for item in session.get_inputs()] + overridable
        self.outputs: list[str] = [item.name for item in session.get_outputs()]
        self._session = session
        # Opens a session for some of the outputs, where that spares more than it costs.
        self._narrow = narrow
        self._narrowed: dict[frozenset[str], ort.InferenceSession] = {}
        self._opening = threading.Lock()

    def run(
        self,
        canvas: npt.NDArray[np.uint8],
        sizes: npt.NDArray[np.int32] | None = None,
        outputs: Sequence[str] | None = None,
        *,
        release: bool = False,
    ) -> dict[str, Array]:
        """Answer one batch; only what is needed for `outputs` is computed.

        Args:
            canvas: uint8 [N,H,W,C], images top-left, zeros elsewhere.
            sizes: int32 [N,2] (height, width) of each image; None: each fills the canvas.
            outputs: names; None: all of them.
            release: give the memory back at once. What is kept for the next batch else grows with each new size of
                large images, to twice what one of them needs; giving it back costs about a fifth of their time.
                After an image that is larger than any batch it is given back in any case.

        Raises:
            InputError: an array of the wrong kind, an unknown output, or an input that the model cannot take.
            ImageTooLargeError: the canvas is larger than the model takes; nothing has run.
            NoMemoryError: there is not memory enough for it.
        """
        channels = self.metadata.channels
        if canvas.ndim != 4 or canvas.dtype != np.uint8 or canvas.shape[3] != channels or 0 in canvas.shape:
            raise InputError(
                f"images must be uint8 [N,H,W,{channels}] with no side of 0, not {canvas.dtype} {list(canvas.shape)}"
            )
        feeds: dict[str, Array] = {"images": canvas}
        if sizes is not None:
            _check_sizes(sizes, canvas)
            if "sizes" in self.inputs:
                feeds["sizes"] = np.ascontiguousarray(sizes, np.int32)
            elif not bool((sizes == canvas.shape[1:3]).all()):
                raise InputError("this model takes images of one size per batch, without padding")
        if detail := excess(self.metadata, *canvas.shape[1:3]):
            raise ImageTooLargeError(detail)
        names = list(self.outputs if outputs is None else outputs)
        unknown = [name for name in names if name not in self.outputs]
        if unknown:
            raise InputError(f"unknown output {unknown[0]!r}; known: {', '.join(self.outputs)}")
        options = self._options(release or canvas.size > _LARGE)
        try:
            return dict(zip(names, self._session_for(names).run(names, feeds, options), strict=True))
        except (InputError, DeviceError):
            raise  # of a session that is opened for these outputs
        except Exception as error:  # onnxruntime's exceptions share no base class
            raise _run_error(error, f"{self.metadata.model} cannot answer images {list(canvas.shape)}") from error

    def _options(self, release: bool) -> ort.RunOptions:
        if not release or self.providers[0] != _CPU:
            return None
        import onnxruntime

        options = onnxruntime.RunOptions()
        options.add_run_config_entry("memory.enable_memory_arena_shrinkage", "cpu:0")
        return options

    def _session_for(self, names: Sequence[str]) -> ort.InferenceSession:
        wanted = frozenset(names)
        if self._narrow is None or wanted == frozenset(self.outputs):
            return self._session
        with self._opening:
            if wanted not in self._narrowed:
                self._narrowed[wanted] = self._narrow(wanted)
            return self._narrowed[wanted]

    def classify(self, images: Sequence[npt.NDArray[np.uint8]]) -> Classification:
        """Classify images of any sizes, padded top-left and grouped so that little is padded.

        Args:
            images: uint8 [h,w,C] each.

        Returns:
            Rows in the order of `images`; no image gives no row.

        Raises:
            InputError: the model is no classifier, or an image that it cannot take.
            UnsafeModelError: the answer has another shape than the metadata promises.
        """
        names = tuple(name for name in ("label", "probabilities") if name in self.outputs)
        if "probabilities" not in names or (task := TASKS.get(self.metadata.task)) is None or task.dense:
            raise InputError(f"model {self.metadata.model} has the task {self.metadata.task!r} and does not classify")
        label = np.zeros(len(images), np.int64)
        probabilities = np.zeros((len(images), len(self.metadata.classes)), np.float32)
        if any(image.ndim != 3 for image in images):
            raise InputError("images must be uint8 [h,w,C] each")
        shapes = [image.shape[:2] for image in images]
        plan = plan_batches(shapes, batch=PYRAMIDS, waste=0) if self.metadata.any_size else plan_batches(shapes)
        for rows in plan:
            try:
                canvas, sizes = pad_batch([images[row] for row in rows])
            except ValueError as error:
                raise InputError(str(error)) from None
            answer = self.run(canvas, sizes, names)
            found = tuple(answer[name].shape for name in names)
            if found != ((len(rows),), (len(rows), len(self.metadata.classes)))[-len(names) :]:
                raise UnsafeModelError(f"model {self.metadata.model} answers {found}, not as its metadata promises")
            probabilities[rows] = answer["probabilities"]
            label[rows] = answer["label"] if "label" in answer else answer["probabilities"].argmax(axis=1)
        return Classification(label, probabilities)

    def segment(
        self, image: npt.NDArray[np.uint8], *, probabilities: bool = False, blending: Blending | None = None
    ) -> dense.Segmentation:
        """Label every pixel of an image uint8 [H,W,C]; see `drillcore.runtime.dense.answering.segment`."""
        return dense.segment(self, image, probabilities=probabilities, blending=blending)

    def regress(self, image: npt.NDArray[np.uint8], *, blending: Blending | None = None) -> npt.NDArray[np.float32]:
        """Return the values float32 [D,H,W] of every pixel; see `drillcore.runtime.dense.answering.regress`."""
        return dense.regress(self, image, blending=blending)


def open_model(path: Path, *, sha256: str | None = None, device: str = "cpu", threads: int = 0) -> Model:
    """Read a model file once, check it and open it.

    Args:
        path: the ONNX file.
        sha256: the digest it must have; None: any.
        device: "cpu", "cuda" (an error where there is none) or "auto" (CUDA where there is a device).
        threads: CPU threads of one run; 0: onnxruntime's choice, all cores.

    Raises:
        InputError: no such file, or an unknown device.
        IntegrityError: the digest differs.
        UnsafeModelError: the file is refused, see `drillcore.runtime.model.safety`, or has no metadata of ours.
        DeviceError: CUDA was asked for and cannot be used.
    """
    if device not in DEVICES:
        raise InputError(f"unknown device {device!r}; known: {', '.join(DEVICES)}")
    data = read_model(path)
    digest = sha256_bytes(data)
    if sha256 is not None and digest != sha256:
        raise IntegrityError(f"{path.name} has the digest {digest[:12]}, {sha256[:12]} is expected; fetch it again")
    proto = check_model_bytes(data)
    metadata = ModelMetadata.of_model(proto)
    del proto
    cuda = device == "cuda" or (device == "auto" and cuda_devices() > 0)
    session = _open_session(data, threads, cuda=cuda, required=device == "cuda")
    narrow = None
    task = TASKS.get(metadata.task)
    if task is not None and not all(output.asked for output in task.outputs):
        # What is asked for rarely, such as the probabilities of every pixel, is large.
        def narrow(outputs: Collection[str]) -> ort.InferenceSession:
            return _open_session(pruned(data, outputs), threads, cuda=cuda, required=device == "cuda")

    model = Model(path, digest, metadata, session, narrow)
    if "images" not in model.inputs or set(model.inputs) - {"images", "sizes"} or not model.outputs:
        raise UnsafeModelError(f"the model takes {', '.join(model.inputs)}; images and sizes are expected")
    return model


def cuda_devices() -> int:
    """Return how many CUDA devices the driver shows, 0 without a driver; costs no CUDA context."""
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return 0
    count = ctypes.c_int(0)
    if driver.cuInit(0) != 0 or driver.cuDeviceGetCount(ctypes.byref(count)) != 0:
        return 0
    return count.value


def _open_session(data: bytes, threads: int, *, cuda: bool, required: bool) -> ort.InferenceSession:
    # Read once, when onnxruntime is imported: without it each session is reported to its maker.
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    # Late: a tenth of a second, and more with CUDA.
    import onnxruntime

    onnxruntime.set_default_logger_severity(_FATAL_ONLY)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = _FATAL_ONLY
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    # Plans of memory are kept per shape; images have thousands of shapes.
    options.enable_mem_pattern = False
    providers: list[str | tuple[str, dict[str, str]]] = [_CPU]
    if cuda:
        onnxruntime.preload_dlls()
        # TF32 has a mantissa of 10 bits; parity is promised to 1e-4.
        providers = [(_CUDA, {"use_tf32": "0"}), _CPU]
    try:
        # Without its fallback, which prints to standard output and tries the same again.
        session = onnxruntime.InferenceSession(data, options, providers=providers, enable_fallback=0)
    except Exception as error:  # noqa: BLE001 - onnxruntime's exceptions share no base class
        _log(error)
        if cuda and "cuda" in str(error).lower():
            found = re.search(r"CUDA failure \d+: ([\w ]+)", str(error))
            reason = f": {found[1].strip()}" if found else ""
            how = "pip install 'drillcore[cuda]' brings its libraries, or ask for the device cpu"
            raise DeviceError(f"CUDA cannot be used{reason}; {how}") from None
        raise UnsafeModelError(
            f"onnxruntime cannot open the model ({type(error).__name__}); export it again with drillcore"
        ) from None
    if required and session.get_providers()[0] != _CUDA:
        raise DeviceError(
            f"CUDA was asked for and onnxruntime offers {', '.join(session.get_providers())}; check the driver with "
            "drillcore doctor, or ask for the device cpu"
        )
    return session


def read_model(path: Path) -> bytes:
    """Return the bytes of a model file.

    Raises:
        InputError: it cannot be read.
        UnsafeModelError: it is larger than any that is loaded.
    """
    try:
        with path.open("rb") as stream:
            size = os.fstat(stream.fileno()).st_size
            if size > MAX_MODEL_BYTES:
                raise UnsafeModelError(f"{path.name} has {size} bytes; at most {MAX_MODEL_BYTES} are loaded")
            # read(n) would set n bytes aside first.
            return stream.read(size)
    except OSError as error:
        raise InputError(f"the model file {path.name} cannot be read: {error.strerror}") from None


def _check_sizes(sizes: Array, canvas: Array) -> None:
    if sizes.shape != (len(canvas), 2) or not np.issubdtype(sizes.dtype, np.integer):
        raise InputError(f"sizes must be integers [{len(canvas)},2], not {sizes.dtype} {list(sizes.shape)}")
    if bool((sizes < 1).any()) or bool((sizes > canvas.shape[1:3]).any()):
        raise InputError(f"sizes must be from 1 to the canvas' {canvas.shape[1]} x {canvas.shape[2]} pixels")


def _run_error(error: Exception, what: str) -> InputError | NoMemoryError:
    """Return what an error of onnxruntime means: its text names nodes and paths of its build, and is logged only."""
    _log(error)
    if _is_memory(error):
        return NoMemoryError(f"model {what}: there is not memory enough; take a smaller image, or fewer at a time")
    return InputError(f"model {what}: the network does not take them ({type(error).__name__})")


def _is_memory(error: Exception) -> bool:
    text = f"{type(error).__name__} {error}".lower()
    return any(word in text for word in _NO_MEMORY)


def _log(error: Exception) -> None:
    # No warning: where nobody has set up logging, Python would print one.
    _LOGGER.info("onnxruntime: %s: %s", type(error).__name__, " ".join(str(error).split())[:1000])
