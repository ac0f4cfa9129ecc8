"""The files that a TorchServe is started with: config.properties, the metrics, and the archives of
the models.
"""

import ipaddress
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from model_store.bundle.archive import write_archive
from model_store.bundle.bundle import Bundle
from model_store.torchserve.counters import metrics_configuration
from serving.errors import TorchServeError

HOST: Final = "127.0.0.1"
DEFAULT_PORT: Final = 8090
TOKEN_LIFE_MINUTES: Final = (
    10 * 365 * 24 * 60
)  # its own default is an hour, after which every client would fail


@dataclass(frozen=True)
class Ports:
    """Where a TorchServe listens: three HTTP services and two of gRPC."""

    inference: int
    management: int
    metrics: int
    grpc_inference: int
    grpc_management: int


def check_host(host: str) -> None:
    """Raises TorchServeError unless `host` is an IPv4 address, such as 0.0.0.0 for every
    interface.
    """
    try:
        ipaddress.IPv4Address(host)
    except ValueError as error:
        raise TorchServeError(
            f"--host must be an IPv4 address, such as 0.0.0.0 for every interface, and is {host!r}"
        ) from error


def choose_ports(port: int, host: str = HOST) -> Ports:
    """Return five ports from `port` on, or five free ones for 0. Raises TorchServeError if one is
    in use.
    """
    wanted = [port + number if port else 0 for number in range(5)]
    sockets: list[socket.socket] = []
    try:
        for number in wanted:
            try:
                sockets.append(socket.create_server((host, number)))
            except (OSError, OverflowError) as error:
                said = str(getattr(error, "strerror", None) or error)
                reason = said.partition(" (while")[
                    0
                ]  # Python adds the address, which stands here already
                raise TorchServeError(
                    f"TorchServe needs the ports {port} to {port + 4} of {host}, and {number} "
                    "cannot be used "
                    f"({reason}): end what listens there, or give another --port"
                ) from error
        return Ports(*(each.getsockname()[1] for each in sockets))
    finally:
        for each in sockets:
            each.close()


def archive_name(bundle: Bundle) -> str:
    """Return the file name of a version's archive: a TorchServe holds several versions of a model
    in one folder.
    """
    return f"{bundle.card.name}-{bundle.card.version}.mar"


def write_archives(
    folder: Path, bundles: Sequence[Bundle], *, workers: int, batch_delay_ms: int
) -> None:
    """Write the archive of each bundle, with this release's handler, whichever release published
    the bundle.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for bundle in bundles:
        path = folder / archive_name(bundle)
        write_archive(
            path, card=bundle.card, onnx=bundle.onnx, workers=workers, batch_delay_ms=batch_delay_ms
        )


def write_configuration(
    folder: Path,
    *,
    torchserve: Path,
    host: str,
    ports: Ports,
    tokens: bool,
    archives: Path,
    max_body_bytes: int,
) -> Path:
    """Write config.properties and metrics.yaml into `folder`; returns the former.

    `torchserve` is the folder of its package, `archives` that of the models. Predictions and
    metrics are at `host`, every other address is the loopback's. Models can only be registered from
    `archives`, and bodies reach the handler as they are.
    """
    config, metrics = folder / "config.properties", folder / "metrics.yaml"
    metrics.write_text(_metrics(torchserve), encoding="utf-8")
    properties = {
        "inference_address": f"http://{host}:{ports.inference}",
        "management_address": f"http://{HOST}:{ports.management}",
        "metrics_address": f"http://{host}:{ports.metrics}",
        "grpc_inference_address": HOST,
        "grpc_management_address": HOST,
        "grpc_inference_port": ports.grpc_inference,
        "grpc_management_port": ports.grpc_management,
        "model_store": archives,
        "allowed_urls": f"file://{archives}/.*",
        "enable_model_api": "true",
        "disable_token_authorization": "false" if tokens else "true",
        "token_expiration_min": TOKEN_LIFE_MINUTES,
        "metrics_mode": "prometheus",
        "metrics_config": metrics,
        "decode_input_request": "false",
        "max_request_size": max_body_bytes,
        "job_queue_size": 100,
    }
    config.write_text(
        "".join(f"{name}={value}\n" for name, value in properties.items()), encoding="utf-8"
    )
    return config


def _metrics(torchserve: Path) -> str:
    """TorchServe's own metrics, and Candor's counters."""
    import yaml

    known = yaml.safe_load((torchserve / "configs" / "metrics.yaml").read_text(encoding="utf-8"))
    known["model_metrics"].setdefault("counter", [])
    known["model_metrics"]["counter"] += metrics_configuration()
    return str(yaml.safe_dump(known))
