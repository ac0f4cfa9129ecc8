"""The peers by name. Each server follows the peer's documentation, and leaves errors of a bad image
to the peer, as the documentation does. Both have one inference worker with one session, with one
thread per core. Batches have at most 16 images.
"""

from typing import Final

from benchmarks.serving.peers.peer import Peer

PEERS: Final = {
    "mosec": Peer("mosec", ("mosec>=0.9,<0.10",), "/inference", "mosec_server.py"),
    "fastapi": Peer(
        "FastAPI + batcher",
        ("fastapi>=0.115", "uvicorn[standard]>=0.32"),
        "/predict",
        "fastapi_server.py",
    ),
}
