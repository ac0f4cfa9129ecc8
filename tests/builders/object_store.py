"""A real S3 server on this machine, moto's, and what a process needs to reach it."""

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

from tests.builders.processes import free_port, wait_until

KEYS = {
    "AWS_ACCESS_KEY_ID": "test",
    "AWS_SECRET_ACCESS_KEY": "test",
    "AWS_DEFAULT_REGION": "us-east-1",
}


class ObjectStore(NamedTuple):
    """`variables` of the environment lead to it; `bucket` exists."""

    variables: dict[str, str]
    bucket: str


@contextmanager
def object_store(*, port: int = 0, bucket: str = "models") -> Iterator[ObjectStore]:
    """Run the server in a process of its own, and make an empty bucket."""
    import subprocess
    import sys

    import boto3

    port = port or free_port()
    url = f"http://127.0.0.1:{port}"
    server = subprocess.Popen(
        [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=os.environ | KEYS,
    )
    try:
        wait_until(lambda: _listens(port))
        client = boto3.client(
            "s3",
            endpoint_url=url,
            aws_access_key_id="test",
            aws_secret_access_key="test",
            region_name="us-east-1",
        )
        client.create_bucket(Bucket=bucket)
        yield ObjectStore(KEYS | {"AWS_ENDPOINT_URL": url}, bucket)
    finally:
        server.kill()
        server.wait()


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
