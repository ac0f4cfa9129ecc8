"""How close Candor's HTTP front comes to ONNX Runtime alone: `python -m benchmarks.serving`."""
