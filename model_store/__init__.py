"""What training hands to serving: the bundle, its integrity, its versions, and how an image becomes the model's input.

A bundle is a folder `STORE/<name>/<version>/` with `model.onnx` (one self-contained file that ends in calibrated
probabilities), `card.json` and `<name>.mar` (the same for TorchServe). Nothing in it is ever unpickled.
"""
