"""A store of objects on loopback that speaks as much of S3 as Arrow's client asks for."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from urllib.parse import parse_qs, unquote, urlsplit

import pytest

from tests.loopback import http_server

BUCKET = "bucket"


@dataclass
class Bucket:
    """What the store holds, by key; `parts` are those of the upload that goes on, one at a time."""

    url: str = ""
    objects: dict[str, bytes] = field(default_factory=dict)
    parts: dict[int, bytes] = field(default_factory=dict)


def give_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let Arrow's client open the store."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "key")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_REQUEST_CHECKSUM_CALCULATION", "when_required")  # or it asks for more of S3 than is spoken here


@contextmanager
def s3() -> Iterator[Bucket]:
    """The store is up until the end of the block; its `url` is that of a folder in its only bucket."""
    held = Bucket()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            parts, body = urlsplit(self.path), self.rfile.read(int(self.headers.get("Content-Length") or 0))
            bucket, _, key = unquote(parts.path).lstrip("/").partition("/")
            query = parse_qs(parts.query, keep_blank_values=True)
            if bucket != BUCKET:
                self.answer(404, b"<Error><Code>NoSuchBucket</Code><Message>none</Message></Error>")
            elif "Authorization" not in self.headers:
                self.answer(403, b"<Error><Code>AccessDenied</Code><Message>who?</Message></Error>")
            elif self.command in ("GET", "HEAD"):
                self.look(key, query)
            else:
                self.change(key, query, body)

        def look(self, key: str, query: dict[str, list[str]]) -> None:
            if "list-type" in query:
                prefix, cut = query.get("prefix", [""])[0], "delimiter" in query
                below = [name for name in sorted(held.objects) if name.startswith(prefix)]
                deep = {name[: name.index("/", len(prefix)) + 1] for name in below if cut and "/" in name[len(prefix) :]}
                rows = [f"<Contents><Key>{name}</Key><Size>{len(held.objects[name])}</Size></Contents>" for name in below
                        if not name.startswith(tuple(deep))]  # fmt: skip
                rows += [f"<CommonPrefixes><Prefix>{name}</Prefix></CommonPrefixes>" for name in sorted(deep)]
                head = f"<Name>{BUCKET}</Name><IsTruncated>false</IsTruncated><KeyCount>{len(rows)}</KeyCount>"
                self.answer(200, f"<ListBucketResult>{head}{''.join(rows)}</ListBucketResult>".encode())
            elif key and key not in held.objects:
                self.answer(404, b"<Error><Code>NoSuchKey</Code><Message>none</Message></Error>")
            else:
                self.answer(200, held.objects.get(key, b""))

        def change(self, key: str, query: dict[str, list[str]], body: bytes) -> None:
            if self.command == "DELETE":
                held.objects.pop(key, None)
                self.answer(204)
            elif "uploads" in query:
                held.parts.clear()
                self.answer(200, b"<InitiateMultipartUploadResult><UploadId>1</UploadId></InitiateMultipartUploadResult>")
            elif "partNumber" in query:
                held.parts[int(query["partNumber"][0])] = body
                self.answer(200)
            else:
                whole = "uploadId" in query
                held.objects[key] = b"".join(part for _, part in sorted(held.parts.items())) if whole else body
                self.answer(200, b"<CompleteMultipartUploadResult><ETag>1</ETag></CompleteMultipartUploadResult>" if whole else b"")

        def answer(self, status: int, body: bytes = b"") -> None:
            if status == 200 and (part := self.headers.get("Range", "").removeprefix("bytes=")):
                first, last = (int(end) for end in part.split("-"))
                body, status = body[first : last + 1], 206
            self.send_response(status)
            for name, value in {"Content-Length": str(len(body)), "ETag": '"1"', "Last-Modified": "Wed, 21 Oct 2015 07:28:00 GMT"}.items():
                self.send_header(name, value)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        do_HEAD = do_PUT = do_POST = do_DELETE = do_GET

        def log_message(self, *_: object) -> None:
            pass

    with http_server(Handler) as url:
        held.url = f"s3://{BUCKET}/mine?endpoint_override={url}"
        yield held
