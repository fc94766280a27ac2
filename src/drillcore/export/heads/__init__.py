"""Heads as ONNX nodes."""
