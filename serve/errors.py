"""Error responses in OpenAI's format. They never contain parts of the request."""

import json
from collections.abc import Mapping

import fastapi
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel
from starlette.exceptions import HTTPException
from starlette.responses import Response

INVALID_JSON = "the body is not valid JSON, or it is nested too deeply"


class ErrorBody(BaseModel):
    """The error object: message, type, the invalid field and a machine-readable code."""

    message: str
    type: str = "invalid_request_error"
    param: str | None = None
    code: str | None = None


class ApiError(fastapi.HTTPException):
    """An error response, raised as an exception.

    A subclass of FastAPI's exception: while it reads a body, FastAPI passes on only those.
    """

    def __init__(self, status: int, body: ErrorBody, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(status, body.message, headers)
        self.body = body

    def json(self) -> str:
        """The body of the response."""
        return json.dumps({"error": self.body.model_dump()})

    def response(self) -> Response:
        """The response."""
        return Response(self.json(), self.status_code, self.headers, "application/json")


def invalid(message: str, param: str | None = None) -> ApiError:
    """Invalid request: 400."""
    return ApiError(400, ErrorBody(message=message, param=param))


def unsupported_media_type() -> ApiError:
    """Content-Type is not JSON: 400. Without this check any page in a browser could send requests (CSRF)."""
    message = "the endpoint accepts only JSON: send the header 'Content-Type: application/json' (curl: -H 'Content-Type: application/json')"
    return ApiError(400, ErrorBody(message=message, code="unsupported_media_type"))


def unknown_model(served: str) -> ApiError:
    """Unknown model: 404. The requested name is not repeated."""
    message = f"there is no such model here; this endpoint serves {served!r}"
    return ApiError(404, ErrorBody(message=message, param="model", code="model_not_found"))


def body_too_large(limit: int) -> ApiError:
    """A body over the limit: 413, before it is parsed."""
    return ApiError(413, ErrorBody(message=f"the body is larger than {limit} bytes; send less", code="body_too_large"))


def upload_timeout(seconds: float) -> ApiError:
    """A body that does not arrive in time: 408."""
    return ApiError(408, ErrorBody(message=f"the body did not arrive within {seconds:g} seconds", code="upload_timeout"))


def invalid_api_key() -> ApiError:
    """Missing or wrong API key: 401."""
    message = "this endpoint needs its API key: Authorization: Bearer <key>"
    return ApiError(401, ErrorBody(message=message, code="invalid_api_key"), {"WWW-Authenticate": "Bearer"})


def overloaded(outstanding: int, limit: int) -> ApiError:
    """The queue is full: 429, retry after a second."""
    message = f"the queue is full: {outstanding} of {limit} sequences are active or waiting; retry in a second"
    return ApiError(429, ErrorBody(message=message, type="rate_limit_error", code="overloaded"), {"Retry-After": "1"})


def client_disconnected() -> ApiError:
    """The client has disconnected: 499, as in nginx."""
    return ApiError(499, ErrorBody(message="the client has disconnected"))


def internal() -> ApiError:
    """Internal error: 500. The reason is in the log."""
    return ApiError(500, ErrorBody(message="the model could not answer; the reason is in the log of the server", type="server_error"))


def install(app: FastAPI) -> None:
    """Make every error response of `app`, including FastAPI's own, an `ErrorBody`."""

    @app.exception_handler(ApiError)
    async def api_error(_: Request, error: ApiError) -> Response:
        return error.response()

    @app.exception_handler(RequestValidationError)
    async def validation_error(_: Request, error: RequestValidationError) -> Response:
        return _from_validation(error).response()

    @app.exception_handler(HTTPException)
    async def http_exception(_: Request, error: HTTPException) -> Response:
        # FastAPI's parser raises 400 for JSON that is nested too deeply, has too long a number, or is not UTF-8.
        message = INVALID_JSON if error.status_code == 400 else str(error.detail)
        return ApiError(error.status_code, ErrorBody(message=message), error.headers).response()

    @app.exception_handler(Exception)
    async def internal_error(_: Request, __: Exception) -> Response:
        return internal().response()


def _from_validation(error: RequestValidationError) -> ApiError:
    """The first validation error. Only the top-level field is named: deeper parts can be keys that the client chose."""
    first = error.errors()[0]
    if first["type"] == "json_invalid":
        return invalid(INVALID_JSON)
    place = [str(part) for part in first["loc"] if part != "body"]
    message = str(first["msg"]).removeprefix("Value error, ")
    return invalid(f"{place[0]}: {message}", place[0]) if place else invalid(message)
