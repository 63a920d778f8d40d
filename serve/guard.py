"""Requests that are refused before they are parsed: a wrong key, a body that is no JSON, is too large or never arrives. Plain ASGI."""

import asyncio
import hmac

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serve.errors import ApiError, no_json_header, too_large, too_slow, wrong_key
from serve.settings import ServeSettings

GUARDED = "/v1/"  # health checks need no key
JSON = "application/json"


class Guard:
    """Middleware in front of the routes."""

    def __init__(self, app: ASGIApp, settings: ServeSettings) -> None:
        self._app, self._settings = app, settings

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        if scope["method"] == "HEAD":  # as GET, but for the body; routes need not know
            scope, send = {**scope, "method": "GET"}, _without_body(send)
        refusal = self._refusal(scope["method"], scope["path"], Headers(scope=scope))
        if refusal is not None:
            return await refusal.response()(scope, receive, send)
        await self._app(scope, _Upload(receive, self._settings), send)

    def _refusal(self, method: str, path: str, headers: Headers) -> ApiError | None:
        if path.startswith(GUARDED):
            if not self._key_fits(headers.get("authorization", "")):
                return wrong_key()
            # A body without the header is none of JSON: a browser sends such for any page, without asking first.
            media_type = headers.get("content-type", "" if method == "POST" else JSON)
            if media_type.partition(";")[0].strip().lower() != JSON:
                return no_json_header()
        length = headers.get("content-length", "0")
        if not (length.isascii() and length.isdigit()) or int(length[:20]) > self._settings.max_body_bytes:
            return too_large(self._settings.max_body_bytes)
        return None

    def _key_fits(self, authorization: str) -> bool:
        if self._settings.api_key is None:
            return True
        expected = f"Bearer {self._settings.api_key.get_secret_value()}"
        return hmac.compare_digest(authorization.encode(), expected.encode())


def _without_body(send: Send) -> Send:
    async def send_headers(message: Message) -> None:
        await send({**message, "body": b""} if message["type"] == "http.response.body" else message)

    return send_headers


class _Upload:
    """A `receive` that counts bytes: Content-Length need not be true, and chunked bodies have none."""

    def __init__(self, receive: Receive, settings: ServeSettings) -> None:
        self._receive, self._settings = receive, settings
        self._read, self._complete = 0, False
        self._deadline = asyncio.get_running_loop().time() + settings.upload_seconds

    async def __call__(self) -> Message:
        if self._complete:
            return await self._receive()
        try:
            async with asyncio.timeout_at(self._deadline):
                message = await self._receive()
        except TimeoutError:
            raise too_slow(self._settings.upload_seconds) from None
        self._read += len(message.get("body", b""))
        self._complete = not message.get("more_body", False)
        if self._read > self._settings.max_body_bytes:
            raise too_large(self._settings.max_body_bytes)
        return message
