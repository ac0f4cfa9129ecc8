"""The other model servers, each with its own environment and the same ONNX file."""
