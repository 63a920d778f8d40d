"""Errors on the wire, in the shape that OpenAI's clients read. Nothing of the request is repeated in them."""

import json
from collections.abc import Mapping

import fastapi
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel
from starlette.exceptions import HTTPException
from starlette.responses import Response

NO_JSON = "the body is not valid JSON, or it is nested too deeply"


class ErrorBody(BaseModel):
    """What is wrong, with which field, and a word for programs."""

    message: str
    type: str = "invalid_request_error"
    param: str | None = None
    code: str | None = None


class ApiError(fastapi.HTTPException):
    """A request that is not served, and the answer it gets instead.

    It is one of the framework's own exceptions because those alone survive when they are raised while a body is read.
    """

    def __init__(self, status: int, body: ErrorBody, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(status, body.message, headers)
        self.body = body

    def json(self) -> str:
        """The answer's body."""
        return json.dumps({"error": self.body.model_dump()})

    def response(self) -> Response:
        """The answer."""
        return Response(self.json(), self.status_code, self.headers, "application/json")


def invalid(message: str, param: str | None = None) -> ApiError:
    """A request that makes no sense: 400."""
    return ApiError(400, ErrorBody(message=message, param=param))


def no_json_header() -> ApiError:
    """A body that says it is something else: 400. Read all the same, any page open in a browser could make us work."""
    message = "the endpoint reads JSON alone: send the header 'Content-Type: application/json' (curl: -H 'Content-Type: application/json')"
    return ApiError(400, ErrorBody(message=message, code="unsupported_media_type"))


def unknown_model(served: str) -> ApiError:
    """A model that is not served here: 404. Which name was asked for is not repeated."""
    message = f"there is no such model here; this endpoint serves {served!r}"
    return ApiError(404, ErrorBody(message=message, param="model", code="model_not_found"))


def too_large(limit: int) -> ApiError:
    """A body over the limit: 413, known before it is parsed."""
    return ApiError(413, ErrorBody(message=f"the body is larger than {limit} bytes; send less", code="body_too_large"))


def too_slow(seconds: float) -> ApiError:
    """A body that does not arrive: 408."""
    return ApiError(408, ErrorBody(message=f"the body did not arrive within {seconds:g} seconds", code="upload_timeout"))


def wrong_key() -> ApiError:
    """No key, or another one: 401."""
    message = "this endpoint needs its API key: Authorization: Bearer <key>"
    return ApiError(401, ErrorBody(message=message, code="invalid_api_key"), {"WWW-Authenticate": "Bearer"})


def overloaded(outstanding: int, limit: int) -> ApiError:
    """More than the queue holds: 429, come back in a second."""
    message = f"{outstanding} of {limit} places are taken; try again in a second"
    return ApiError(429, ErrorBody(message=message, type="rate_limit_error", code="overloaded"), {"Retry-After": "1"})


def client_gone() -> ApiError:
    """Nobody waits for the answer: 499, nginx's number for it."""
    return ApiError(499, ErrorBody(message="the client is gone"))


def internal() -> ApiError:
    """Our fault: 500. The reason is in the log."""
    return ApiError(500, ErrorBody(message="the model could not answer; the reason is in the log of the server", type="server_error"))


def install(app: FastAPI) -> None:
    """Make every error of `app`, the framework's own too, an `ErrorBody`."""

    @app.exception_handler(ApiError)
    async def answer(_: Request, error: ApiError) -> Response:
        return error.response()

    @app.exception_handler(RequestValidationError)
    async def refuse(_: Request, error: RequestValidationError) -> Response:
        return _from_validation(error).response()

    @app.exception_handler(HTTPException)
    async def translate(_: Request, error: HTTPException) -> Response:
        # 400 is what the framework says of a body that its parser gave up on: too deep, a number too long, no UTF-8.
        message = NO_JSON if error.status_code == 400 else str(error.detail)
        return ApiError(error.status_code, ErrorBody(message=message), error.headers).response()

    @app.exception_handler(Exception)
    async def apologise(_: Request, __: Exception) -> Response:
        return internal().response()


def _from_validation(error: RequestValidationError) -> ApiError:
    """The first complaint. Deeper parts of its place are left out: they can be keys that the client chose."""
    first = error.errors()[0]
    if first["type"] == "json_invalid":
        return invalid(NO_JSON)
    place = [str(part) for part in first["loc"] if part != "body"]
    message = str(first["msg"]).removeprefix("Value error, ")
    return invalid(f"{place[0]}: {message}", place[0]) if place else invalid(message)
