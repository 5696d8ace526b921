"""No test reaches another machine, nor does a process that it starts.

Two fences: in every process of Python an audit hook refuses the connection and writes it into a file; and,
where the system lets us, the processes live in a network of their own that has nothing but the loopback. The
system counts there what found no way out, whatever program asked.
"""

from __future__ import annotations

import ctypes
import ipaddress
import os
import socket
import struct
import sys
import tempfile
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

LOG_VARIABLE = "YOLOR_TEST_OUTWARD"
FOLDER = str(Path(__file__).parent)
NEW_NETWORK = 0x40000000  # CLONE_NEWNET of Linux
SET_FLAGS, IS_UP = 0x8914, 0x41  # SIOCSIFFLAGS; IFF_UP and IFF_RUNNING
ADDRESS_EVENTS = ("socket.connect", "socket.sendto", "socket.sendmsg")
UNROUTABLE = "the system found no way out"
NAME_EVENTS = ("socket.getaddrinfo", "socket.gethostbyname")


class OutwardConnection(PermissionError):
    """A test, or the product in it, wanted to reach another machine."""


@cache
def install() -> None:
    """Refuse, in this process and for its whole life, what would leave the machine."""
    sys.addaudithook(refuse)


def refuse(event: str, args: tuple[Any, ...]) -> None:
    """An audit hook."""
    if event in ADDRESS_EVENTS and not is_local(args[1]):
        told = f"{event} {args[1]!r}"
    elif event in NAME_EVENTS and not is_known(args[0]):
        told = f"{event} {args[0]!r}"
    else:
        return
    log = os.environ.get(LOG_VARIABLE)
    if log:
        with open(log, "a", encoding="utf-8") as file:
            file.write(f"{told} by {' '.join(sys.argv)[:200]!r}\n")
    raise OutwardConnection(f"tests reach no other machine: {told}")


def is_local(address: Any) -> bool:
    """Whether an address of a socket is on this machine: loopback, a path, or one of the kernel's own."""
    return (
        not isinstance(address, tuple) or not isinstance(address[0], str) or is_known(address[0], names=False)
    )


def is_known(host: Any, *, names: bool = True) -> bool:
    """Whether a host is this machine; with `names`, whether it can be told without asking another one."""
    text = host.decode("latin-1") if isinstance(host, bytes) else host or ""
    try:
        number = ipaddress.ip_address(text.partition("%")[0])
        return names or number.is_loopback or number.is_unspecified
    except ValueError:
        return text in ("", "localhost", socket.gethostname())


def leave_network() -> bool:
    """Move this thread, and the processes it starts from now on, into a network with the loopback alone;
    False where the system does not let us."""
    import fcntl

    unshare = getattr(ctypes.CDLL(None), "unshare", None)
    if unshare is None or unshare(NEW_NETWORK):
        return False
    with socket.socket() as some:
        fcntl.ioctl(some, SET_FLAGS, struct.pack("16sH14x", b"lo", IS_UP))
    return True


class Fence(NamedTuple):
    """The log of this session, and whether it has a network of its own."""

    log: Path
    is_apart: bool

    @staticmethod
    def build() -> Fence:
        """Close the way out for this process and all that it starts."""
        handle, name = tempfile.mkstemp(prefix="yolor-outward-")
        os.close(handle)
        os.environ[LOG_VARIABLE] = name
        known = os.environ.get("PYTHONPATH", "").split(os.pathsep)
        os.environ["PYTHONPATH"] = os.pathsep.join(
            [FOLDER, *(one for one in known if one not in ("", FOLDER))]
        )
        install()
        return Fence(Path(name), sys.platform == "linux" and leave_network())

    def attempts(self) -> tuple[list[str], int]:
        """All attempts so far: those refused, and how many the system counted."""
        told = self.log.read_text(encoding="utf-8").splitlines()
        return told, count_unroutable() if self.is_apart else 0


def count_unroutable() -> int:
    """Packets and connections of all programs in this network that found no way."""
    table = Path("/proc/thread-self/net")
    names, values = (line.split() for line in (table / "snmp").read_text().splitlines() if line[:3] == "Ip:")
    six = table / "snmp6"
    more = [line.split() for line in six.read_text().splitlines()] if six.exists() else []
    sixes = sum(int(value) for name, value in more if name == "Ip6OutNoRoutes")
    return int(values[names.index("OutNoRoutes")]) + sixes
