"""The network interface by which this machine reaches another one.

gloo, which connects training processes on CPUs, listens at the address of the machine's own name.
Debian and others give that name to 127.0.1.1, which no other machine reaches.
"""

import socket
import struct
import sys
from typing import Final

SIOCGIFADDR: Final = 0x8915  # Linux: the IPv4 address of an interface
NAME_BYTES: Final = 16
ANY_PORT: Final = 9


def interface_towards(host: str) -> str | None:
    """The name of the interface with the address that this machine uses to reach `host`; None if it
    is not found.

    >>> interface_towards("127.0.0.1") in ("lo", None)
    True
    """
    if sys.platform != "linux":
        return None
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            probe.connect((host, ANY_PORT))  # sends nothing
            own = probe.getsockname()[0]
            return next(
                (name for _, name in socket.if_nameindex() if _address(probe, name) == own), None
            )
    except OSError:
        return None


def _address(probe: socket.socket, name: str) -> str | None:
    """The IPv4 address of an interface."""
    import fcntl

    request = struct.pack(f"{NAME_BYTES}s24x", name.encode())
    try:
        answer = fcntl.ioctl(probe.fileno(), SIOCGIFADDR, request)
    except OSError:  # it has none
        return None
    return socket.inet_ntoa(answer[20:24])
