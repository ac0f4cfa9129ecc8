"""Images decoded one by one, before they join a batch: plain PNG on the event loop, all others in
processes that may be killed.

`decoder` decides, and has the queue. `process` is one decoding process as the server sees it, which
`child` starts, and runs `worker` within limits of processor time and memory. `channel` is what the
two share: lines of JSON, and memory for the image and its pixels. `worker` imports only
`model_store.image` and `channel`, so that it starts fast and stays small.
"""
