"""What training hands to serving: bundles, their store, and how an image becomes the input.

A bundle is a folder `STORE/<name>/<version>/` with `model.onnx` (one self-contained file whose
output is calibrated probabilities), `card.json`, `<name>.mar` (the same for TorchServe), and
`manifest.json`, which holds the hash of each of them. Nothing in a bundle is ever unpickled.
"""
