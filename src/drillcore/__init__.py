"""drillcore: drill cores through a pretrained network, train a light head on them, ship one ONNX file."""

__version__ = "0.1.0"
