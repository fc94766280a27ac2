"""LitServe serving the same ONNX file, for `bench serve`: its own batches, our decoder and session.

Called as `python -m benchmarks.online.litserve_server MODEL PORT BATCH THREADS`; only such a process imports it.
"""

from __future__ import annotations

import base64
import sys
from typing import Any

import litserve
import numpy as np
import onnxruntime

from drillcore.runtime.images.decode import decode_bytes


class Classifier(litserve.LitAPI):  # type: ignore[misc]
    """Decode, batch, infer. JPEG files come in base64, as its documentation sends images.

    Its workers are started anew and find this class by name, so it stands in the module.
    """

    def setup(self, device: str) -> None:
        """Open the session, in a worker."""
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = int(sys.argv[4])
        options.log_severity_level = 3
        self.session = onnxruntime.InferenceSession(sys.argv[1], options, providers=["CPUExecutionProvider"])

    def decode_request(self, request: dict[str, str]) -> Any:
        """Return uint8 [H,W,3]."""
        return decode_bytes(base64.b64decode(request["image"]), 3, max_pixels=10**8)

    def batch(self, inputs: list[Any]) -> Any:
        """Return uint8 [N,H,W,3]."""
        return np.stack(inputs)

    def predict(self, canvas: Any) -> Any:
        """Return probabilities float32 [N,K]."""
        return self.session.run(["probabilities"], {"images": canvas})[0]

    def unbatch(self, output: Any) -> list[Any]:
        """Return one row per image."""
        return list(output)

    def encode_response(self, output: Any) -> dict[str, Any]:
        """Return the five best classes."""
        best = np.argsort(-output)[:5]
        return {"label": int(best[0]), "top5": [[int(index), float(output[index])] for index in best]}


if __name__ == "__main__":
    api = Classifier(max_batch_size=int(sys.argv[3]), batch_timeout=0.005)
    server = litserve.LitServer(api, accelerator="cpu", timeout=120)
    server.run(host="127.0.0.1", port=int(sys.argv[2]), generate_client_file=False, log_level="error")
