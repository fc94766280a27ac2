"""From torch and scikit-learn to one ONNX file, and the proof that it answers the same."""
