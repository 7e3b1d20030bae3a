"""Unit tests run in a network namespace of their own: loopback is brought up there, and nothing else exists."""

from __future__ import annotations

import fcntl
import os
import socket
import struct

_SIOCGIFFLAGS, _SIOCSIFFLAGS = 0x8913, 0x8914  # linux/sockios.h
_IFF_UP = 0x1  # linux/if.h
_REQUEST = struct.Struct("16sh14x")  # struct ifreq with ifr_flags


def pytest_configure() -> None:
    """Bring loopback up where it is down and we may; elsewhere it is up, as on every host."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        asked = fcntl.ioctl(any_socket, _SIOCGIFFLAGS, _REQUEST.pack(b"lo", 0))
        flags = _REQUEST.unpack(asked)[1]
        if not flags & _IFF_UP and os.geteuid() == 0:
            fcntl.ioctl(any_socket, _SIOCSIFFLAGS, _REQUEST.pack(b"lo", flags | _IFF_UP))
