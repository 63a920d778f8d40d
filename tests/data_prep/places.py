"""Stand-ins on loopback: a server of plain answers, which a test makes an S3, a hub or a package index of."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler

from tests.loopback import http_server


@dataclass
class Answer:
    """What is answered."""

    body: bytes = b""
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)


Reply = Callable[[str, str], Answer]  # of the method and of the path with its query


@dataclass
class Place:
    """A server that is up, and what it was asked: method, path, bytes answered."""

    url: str
    asked: list[tuple[str, str, int]]


@contextmanager
def serving(reply: Reply) -> Iterator[Place]:
    """Answer on 127.0.0.1, also to parts of a body (`Range`), until the end of the block."""
    asked: list[tuple[str, str, int]] = []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            self.rfile.read(length)
            answer = reply(self.command, self.path)
            body, status = answer.body, answer.status
            headers = {"Content-Type": "application/octet-stream", "ETag": '"1"', "Last-Modified": "Wed, 21 Oct 2015 07:28:00 GMT"}
            if status == 200 and (part := self.headers.get("Range", "").removeprefix("bytes=")):
                first, last = part.split("-")
                start = int(first) if first else max(0, len(body) - int(last))
                end = min(int(last), len(body) - 1) if first and last else len(body) - 1
                headers["Content-Range"] = f"bytes {start}-{end}/{len(body)}"
                body, status = body[start : end + 1], 206
            asked.append((self.command, self.path, 0 if self.command == "HEAD" else len(body)))
            self.send_response(status)
            for name, value in (headers | {"Content-Length": str(len(body))} | answer.headers).items():
                self.send_header(name, value)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        do_HEAD = do_POST = do_GET

        def log_message(self, *_: object) -> None:
            pass

    with http_server(Handler) as url:
        yield Place(url, asked)
