"""The Open Inference Protocol, version 2, over REST with the binary tensor extension.

Triton's and KServe's clients work unchanged. One input, `image`: as tensor UINT8 [N, C, H, W] it is
the network's own input; as BYTES [N] each element is an encoded image, decoded as POST /predictions
does.
"""
