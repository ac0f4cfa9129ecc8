"""Image in, label and calibrated probability out: ONNX Runtime behind HTTP, without torch.

The way of an image: `http/prediction` reads the request, `decoding/decoder` decodes the image,
`inference/batcher` queues it, `inference/served_version` infers the batch, monitoring's recorder
commits the ledger rows, and only then is the answer sent.
"""
