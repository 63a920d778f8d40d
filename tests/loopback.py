"""What tests need of 127.0.0.1: a port, and a server of HTTP for as long as a block takes."""

import contextlib
import random
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

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
