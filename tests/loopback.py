"""What tests need of 127.0.0.1: a port, and servers for as long as a block takes."""

import contextlib
import os
import random
import socket
import socketserver
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from unittest import mock

# Under the ports that the kernel hands to whoever names none (from 32768: Ray does that dozens of times), over those of Ray's workers
# (to 19999) and of its servers for clients (23000 to 24000).
PORTS = range(25_000, 32_000)


def free_port() -> int:
    """A port of 127.0.0.1 that nobody holds, nor takes by chance before the test does."""
    for port in random.SystemRandom().sample(PORTS, 100):
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise OSError(f"of 100 ports in {PORTS} none is free")


@contextlib.contextmanager
def http_server(handler: type[BaseHTTPRequestHandler]) -> Iterator[str]:
    """Answer by `handler` until the end of the block; yields the URL."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@contextlib.contextmanager
def proxied_environment(scheme: str = "http") -> Iterator[list[bytes]]:
    """Let the environment name a proxy for everything; yields what that is sent, and refuses to pass on."""
    sent: list[bytes] = []

    class Recorder(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            sent.append(self.request.recv(65_536))
            self.request.sendall(b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Recorder) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        names = [spelling for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY") for spelling in (name, name.lower())]
        try:
            with mock.patch.dict(os.environ, dict.fromkeys(names, f"{scheme}://127.0.0.1:{server.server_address[1]}")):
                for name in ("NO_PROXY", "no_proxy"):
                    os.environ.pop(name, None)
                yield sent
        finally:
            server.shutdown()
            thread.join()
