"""The other model servers, each installed in an environment of its own and given the same ONNX file."""
