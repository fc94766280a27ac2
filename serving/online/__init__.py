"""Online serving: every model that was fetched to this machine, over HTTP, with onnxruntime alone."""
