"""A feed on the network: a page with the live picture, the picture alone, and lines of JSON.

One thread for each client, up to a number of them; a client that does not read is left after some seconds.
"""

from __future__ import annotations

import errno
import ipaddress
import json
import re
import selectors
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.resources import files
from socketserver import TCPServer
from threading import BoundedSemaphore, Thread
from typing import Any, ClassVar, NamedTuple
from urllib.parse import urlsplit

from yolor_cfg.detect.watch.feed import Feed
from yolor_cfg.errors import YolorError
from yolor_cfg.files import reason_of

MOST_CLIENTS = 64
MOST_CONNECTIONS = 256
"""With those that have not asked yet; more are closed at once."""
PATIENCE_S = 10.0
"""How long a client may take to ask or to read before it is left."""
WAIT_S = 1.0
"""How often a thread that waits for a frame looks whether its client is still there."""
BOUNDARY = "frame"
LOCAL_NAMES = ("localhost", "127.0.0.1", "[::1]")
ADDRESS = re.compile(r"(?:(?P<host>\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9.-]*):)?(?P<port>[0-9]{1,5})")
SAFE_HEADERS = {
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "default-src 'none'; img-src 'self'; connect-src 'self'; "
    "style-src 'unsafe-inline'; script-src 'unsafe-inline'",
}


class Address(NamedTuple):
    """Where to listen: a name or an address, and a port; 0 takes a free one."""

    host: str
    port: int

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{self.port}/"


def parse_address(text: str) -> Address:
    """`:8080`, `8080`, `0.0.0.0:8080`, `[::1]:8080`; without a host this machine alone. Raises ValueError."""
    match = ADDRESS.fullmatch(text.strip())
    if match is None or int(match["port"]) > 65535:
        raise ValueError(f"{text!r} is not [HOST]:PORT, such as :8080 or 0.0.0.0:8080")
    return Address((match["host"] or "127.0.0.1").strip("[]"), int(match["port"]))


class FeedServer(ThreadingHTTPServer):
    """Serves a feed until it is closed."""

    daemon_threads = True
    block_on_close = False
    request_queue_size = 32

    def __init__(self, address: Address, feed: Feed) -> None:
        """Raises OSError where nobody can listen there."""
        self.address_family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
        self.feed, self.places = feed, BoundedSemaphore(MOST_CLIENTS)
        self._connections = BoundedSemaphore(MOST_CONNECTIONS)
        super().__init__((address.host, address.port), FeedHandler)
        self.address = address._replace(port=self.server_address[1])
        # Of the address that was found, not of the word: 127.1 is this machine too, and so are other names.
        found = ipaddress.ip_address(str(self.server_address[0]))
        self.is_local = (getattr(found, "ipv4_mapped", None) or found).is_loopback

    def server_bind(self) -> None:
        """Without the look-up of a name that http.server makes here, which may take long."""
        TCPServer.server_bind(self)
        host, port = self.server_address[:2]
        self.server_name, self.server_port = str(host), int(port)

    def process_request(self, request: Any, client_address: Any) -> None:
        """Begin a thread for the connection if there are not too many."""
        if self._connections.acquire(blocking=False):
            self._begin_thread(request, client_address)
        else:
            self.shutdown_request(request)

    def _begin_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request(request, client_address)
        except RuntimeError:  # the system has no thread left
            self._connections.release()
            raise

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Answer in this thread."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._connections.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away is no event."""


class FeedHandler(BaseHTTPRequestHandler):
    """Answers one client."""

    server: FeedServer
    timeout = PATIENCE_S
    server_version, sys_version = "yolor", ""
    pages: ClassVar[dict[str, str]] = {
        "/": "_send_page",
        "/stream.mjpg": "_send_stream",
        "/frame.jpg": "_send_picture",
        "/detections.jsonl": "_send_lines",
        "/status.json": "_send_status",
    }

    def do_GET(self) -> None:
        """One of the pages; anything else is not found."""
        if not self.server.places.acquire(blocking=False):
            self._refuse(HTTPStatus.SERVICE_UNAVAILABLE)
            return
        try:
            self._answer()
        except OSError:  # also a timeout: the client is gone or does not read
            self.close_connection = True
        finally:
            self.server.places.release()

    do_HEAD = do_GET

    def do_POST(self) -> None:
        """Nothing can be changed here."""
        self._refuse(HTTPStatus.METHOD_NOT_ALLOWED, Allow="GET, HEAD")

    do_PUT = do_DELETE = do_PATCH = do_OPTIONS = do_POST

    def log_message(self, format: str, *args: Any) -> None:
        """Requests are not told."""

    def _answer(self) -> None:
        if self.server.is_local and not self._names_this_machine():
            self._refuse(HTTPStatus.FORBIDDEN)
            return
        name = self.pages.get(self._asked_path())
        if name is None:
            self._refuse(HTTPStatus.NOT_FOUND)
            return
        getattr(self, name)()

    def _asked_path(self) -> str:
        """The path of the request; empty if it asks for what is no address."""
        try:
            return urlsplit(self.path).path
        except ValueError:
            return ""

    def _names_this_machine(self) -> bool:
        """Whether the Host is one of this machine: a page of elsewhere whose name was turned to this address
        would have its own there."""
        asked = self.headers.get("Host", "")
        host = re.sub(r":[0-9]*$", "", asked).lower()
        own = self.server.address.host.lower()
        return host in (*LOCAL_NAMES, f"[{own}]" if ":" in own else own)

    def _refuse(self, status: HTTPStatus, **headers: str) -> None:
        self._send_whole(f"{status.phrase}\n".encode(), "text/plain; charset=utf-8", status, **headers)

    def _send_whole(self, body: bytes, kind: str, status: HTTPStatus = HTTPStatus.OK, **headers: str) -> None:
        self._send_headers(status, {"Content-Type": kind, "Content-Length": str(len(body)), **headers})
        if self.command != "HEAD":
            self.wfile.write(body)

    def _send_headers(self, status: HTTPStatus, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in {**headers, **SAFE_HEADERS, "Connection": "close"}.items():
            self.send_header(name, value)
        self.end_headers()

    def _send_page(self) -> None:
        self._send_whole(read_page(), "text/html; charset=utf-8")

    def _send_status(self) -> None:
        text = json.dumps(self.server.feed.describe()) + "\n"
        self._send_whole(text.encode(), "application/json")

    def _send_picture(self) -> None:
        shot = self.server.feed.next_shot(0, PATIENCE_S)
        if shot is None:
            self._refuse(HTTPStatus.SERVICE_UNAVAILABLE)
        else:
            self._send_whole(shot.encode(), "image/jpeg")

    def _send_stream(self) -> None:
        """Each time the newest picture, so that who reads slowly sees fewer of them."""
        kind = f"multipart/x-mixed-replace; boundary={BOUNDARY}"
        self._send_headers(HTTPStatus.OK, {"Content-Type": kind})
        number, feed = 0, self.server.feed
        while self.command != "HEAD" and not self._is_gone():
            shot = feed.next_shot(number, WAIT_S)
            if shot is not None:
                number, picture = shot.number, shot.encode()
                head = f"--{BOUNDARY}\r\nContent-Type: image/jpeg\r\nContent-Length: {len(picture)}\r\n\r\n"
                self.wfile.write(head.encode() + picture + b"\r\n")
            elif feed.is_over:
                self.wfile.write(f"--{BOUNDARY}--\r\n".encode())
                return

    def _send_lines(self) -> None:
        """The newest line and all that follow."""
        self._send_headers(HTTPStatus.OK, {"Content-Type": "application/x-ndjson"})
        feed = self.server.feed
        number = max(0, feed.newest() - 1)
        while self.command != "HEAD" and not self._is_gone():
            number, text = feed.next_lines(number, WAIT_S)
            if text:
                self.wfile.write(text.encode())
            elif feed.is_over:
                return

    def _is_gone(self) -> bool:
        """Whether the client has closed its end: it has nothing to say after its request."""
        with selectors.DefaultSelector() as watched:
            watched.register(self.connection, selectors.EVENT_READ)
            if not watched.select(0):
                return False
        return len(self.connection.recv(1, socket.MSG_PEEK)) == 0


@cache
def read_page() -> bytes:
    """The page, which needs nothing from elsewhere."""
    return (files("yolor_cfg.detect.watch") / "page/watch.html").read_bytes()


def _hint_of(fault: OSError) -> str:
    """What to do where nobody can listen: the port or the host is to blame."""
    if fault.errno in (errno.EADDRINUSE, errno.EACCES):
        return "give another port, or 0 for a free one: --serve :0"
    return "the host must be a name or an address of this machine: --serve :8080, or 0.0.0.0:8080 for all"


@contextmanager
def serving(address: Address, feed: Feed) -> Iterator[Address]:
    """Serve the feed in threads inside the context; raises YolorError where nobody can listen there. Gives
    the address with its port."""
    try:
        server = FeedServer(address, feed)
    except OSError as fault:
        message = f"cannot listen there: {reason_of(fault)}"
        raise YolorError(message, path=str(address), hint=_hint_of(fault)) from None
    thread = Thread(target=server.serve_forever, args=(0.1,), name="yolor-serve", daemon=True)
    thread.start()
    try:
        yield server.address
    finally:
        feed.close()
        server.shutdown()
        server.server_close()
