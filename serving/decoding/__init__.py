"""Images decoded one by one: plain PNG on the event loop, all others in processes that may be
killed.

`pool` hands the others to `process`, which runs `worker` with limits on processor time and memory;
`memory` shares out the memory of all processes. `worker` imports only `model_store.image` and `messages`, so that it starts fast and
stays small.
"""
