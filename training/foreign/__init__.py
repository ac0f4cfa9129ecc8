"""Foreign models that need torch to become a graph: weights of a known architecture, and Hugging
Face folders.

The graph is then taken in by `model_store.foreign` like any other ONNX file.
"""
