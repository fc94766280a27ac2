"""What scoring and serving need: decoding, the safety check, the onnxruntime session, the served pointer; no torch."""
