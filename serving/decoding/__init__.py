"""Images decoded beside the event loop: small ones on it, all others in processes that may be
killed.

`cheap` proves from the header that an image costs little. `pool` hands the others to `process`,
which runs `worker` with limits on processor time and memory; `memory` shares out the memory of all
processes. `worker` imports only `model_store.image` and `messages`, so that it starts fast and
stays small.
"""
