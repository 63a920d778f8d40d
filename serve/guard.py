"""Checks before a request is parsed, as ASGI middleware: API key, content type, size and upload time of the body."""

import asyncio
import hmac

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serve.errors import ApiError, body_too_large, invalid_api_key, unsupported_media_type, upload_timeout
from serve.settings import ServeSettings

PROTECTED_PREFIX = "/v1/"  # paths that need the API key; health checks do not
JSON = "application/json"


class Guard:
    """ASGI middleware that rejects requests before the routes parse them."""

    def __init__(self, app: ASGIApp, settings: ServeSettings) -> None:
        self._app, self._settings = app, settings

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        if scope["method"] == "HEAD":  # the response to GET without its body; the routes define only GET
            scope, send = {**scope, "method": "GET"}, _without_body(send)
        refusal = self._refusal(scope["method"], scope["path"], Headers(scope=scope))
        if refusal is not None:
            return await refusal.response()(scope, receive, send)
        await self._app(scope, _LimitedBody(receive, self._settings), send)

    def _refusal(self, method: str, path: str, headers: Headers) -> ApiError | None:
        if path.startswith(PROTECTED_PREFIX):
            if not self._key_matches(headers.get("authorization", "")):
                return invalid_api_key()
            # Browsers send other content types for any page without a CORS preflight request.
            media_type = headers.get("content-type", "" if method == "POST" else JSON)
            if media_type.partition(";")[0].strip().lower() != JSON:
                return unsupported_media_type()
        length = headers.get("content-length", "0")
        if not (length.isascii() and length.isdigit()) or int(length[:20]) > self._settings.max_body_bytes:
            return body_too_large(self._settings.max_body_bytes)
        return None

    def _key_matches(self, authorization: str) -> bool:
        if self._settings.api_key is None:
            return True
        expected = f"Bearer {self._settings.api_key.get_secret_value()}"
        return hmac.compare_digest(authorization.encode(), expected.encode())


def _without_body(send: Send) -> Send:
    async def send_headers(message: Message) -> None:
        await send({**message, "body": b""} if message["type"] == "http.response.body" else message)

    return send_headers


class _LimitedBody:
    """A `receive` that limits bytes and time: Content-Length can be wrong, and chunked bodies have none."""

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
            raise upload_timeout(self._settings.upload_seconds) from None
        self._read += len(message.get("body", b""))
        self._complete = not message.get("more_body", False)
        if self._read > self._settings.max_body_bytes:
            raise body_too_large(self._settings.max_body_bytes)
        return message
