"""Image in, label and calibrated probability out: ONNX Runtime behind HTTP, without torch.

Walk an image: `prediction_app.app` reads and decodes it, `batcher` queues it, `version` infers the batch, the
monitor's recorder commits it to the ledger, and only then does the answer leave.
"""
