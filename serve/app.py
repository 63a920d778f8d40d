"""The routes, as a FastAPI application that Ray Serve (`serve.launch`) or any other ASGI server runs."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable
from dataclasses import dataclass

import torch
from fastapi import FastAPI, Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from codenas.checkpoint import Checkpoint
from codenas.compress.stored import StoredModel
from codenas.decode import BackendChoice, BackendOptions, Engine, choose_backend, open_backend
from codenas.decode.backend import Backend
from codenas.errors import CheckpointError
from codenas.vocab import Vocabulary
from serve import errors
from serve.encode import RequestEncoder
from serve.engine_host import DecodingFailed, EngineHost, Generation, Overloaded
from serve.guard import Guard
from serve.protocol import Completion, CompletionRequest, Health, ModelCard, ModelList
from serve.response import CompletionResponse
from serve.settings import ServeSettings


@dataclass(slots=True, frozen=True)
class Served:
    """What an endpoint serves.

    Attributes:
        infills, suffix_first: whether the model can fill in the middle, and by prompts that begin with the suffix.
        options: of the backend.
    """

    model: StoredModel
    vocabulary: Vocabulary
    infills: bool
    suffix_first: bool
    options: BackendOptions

    @property
    def backend(self) -> BackendChoice:
        """What decodes the model."""
        return choose_backend(self.model.arch, self.options)


def load(settings: ServeSettings) -> Served:
    """Read the checkpoint.

    Raises:
        CheckpointError: it is missing or damaged, or its weights are not finite.
    """
    checkpoint = Checkpoint.open(settings.checkpoint)
    model = checkpoint.load_stored()
    vocabulary = checkpoint.load_vocabulary()
    if vocabulary.size != model.vocab_size:
        raise CheckpointError(
            f"{checkpoint.path}: the model has {model.vocab_size} tokens, its vocabulary {vocabulary.size}; restore the folder"
        )
    if not all(bool(torch.isfinite(tensor).all()) for tensor in model.tensors.values()):
        raise CheckpointError(f"{checkpoint.path}: weights are not finite, it cannot be served; train again or take another checkpoint")
    options = BackendOptions(settings.max_batch, threads=settings.threads, device=settings.device, precision=settings.precision)
    return Served(model, vocabulary, checkpoint.manifest.infills, checkpoint.manifest.infills_suffix_first, options)


def open_app(settings: ServeSettings) -> FastAPI:
    """The application that serves the checkpoint of `settings`.

    Raises:
        CheckpointError: see `load`.
        ResourceError: there is no memory.
    """
    served = load(settings)
    return create_app(settings, open_backend(served.model, served.options), served.vocabulary, served.infills, served.suffix_first)


def create_app(
    settings: ServeSettings, backend: Backend, vocabulary: Vocabulary, infills: bool = False, suffix_first: bool = False
) -> FastAPI:
    """The application that serves the model of `backend`; its lifespan runs the engine."""
    engine = EngineHost(Engine(backend), vocabulary, settings.max_queue, settings.threads)
    encoder = RequestEncoder(vocabulary, backend.context_len, infills, suffix_first)

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        async with engine:
            yield

    app = FastAPI(title="CodeNAS", lifespan=lifespan)
    app.state.engine = engine
    app.add_middleware(Guard, settings=settings)
    errors.install(app)
    _add_completions(app, settings, engine, encoder)
    _add_models_and_health(app, settings, engine, encoder.context_len)
    return app


def _add_completions(app: FastAPI, settings: ServeSettings, engine: EngineHost, encoder: RequestEncoder) -> None:
    @app.post("/v1/completions", response_model=Completion)
    async def completions(http_request: Request, request: CompletionRequest) -> Response:
        if request.model not in (None, settings.model_name):
            raise errors.unknown_model(settings.model_name)
        try:
            generation = engine.submit(encoder.sequences(request))
        except Overloaded as full:
            raise errors.overloaded(full.outstanding, full.limit) from None
        except DecodingFailed:
            raise errors.internal() from None
        response = CompletionResponse(request, generation, encoder, settings.model_name)
        if request.stream:
            return EventStream(response.events(), generation)
        try:
            completion = await _unless_disconnected(http_request, response.completion())
        finally:
            generation.cancel()
        return Response(completion.model_dump_json(), media_type="application/json")


def _add_models_and_health(app: FastAPI, settings: ServeSettings, engine: EngineHost, context_len: int) -> None:
    created = int(time.time())

    def health(status_code: int, status: str) -> Response:
        active = engine.active
        body = Health.model_validate({"status": status, "active": active, "waiting": engine.outstanding - active})
        return JSONResponse(body.model_dump(), status_code)

    card = ModelCard(id=settings.model_name, created=created, max_model_len=context_len)

    @app.get("/v1/models")
    async def models() -> ModelList:
        return ModelList(data=[card])

    @app.get("/v1/models/{name:path}")
    async def model(name: str) -> ModelCard:
        if name != card.id:
            raise errors.unknown_model(card.id)
        return card

    @app.get("/health", response_model=Health)
    async def alive() -> Response:
        return health(200, "ok") if engine.alive else health(503, "down")

    @app.get("/ready", response_model=Health)
    async def ready() -> Response:
        if not engine.alive:
            return health(503, "down")
        return health(200, "ok") if engine.outstanding < engine.limit else health(503, "busy")


class EventStream(StreamingResponse):
    """Server-sent events that cancel the generation however they end: complete, client disconnected, or never started."""

    def __init__(self, events: AsyncIterator[bytes], generation: Generation) -> None:
        super().__init__(events, media_type="text/event-stream", headers={"Cache-Control": "no-cache"})
        self._generation = generation

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._generation.cancel()


async def _unless_disconnected(request: Request, completion: Awaitable[Completion]) -> Completion:
    """Await `completion`, unless the client disconnects first.

    Raises:
        ApiError: the client has disconnected (it will not read this).
    """
    work, disconnected = asyncio.ensure_future(completion), asyncio.ensure_future(_disconnect(request))
    try:
        await asyncio.wait((work, disconnected), return_when=asyncio.FIRST_COMPLETED)
        if not work.done():
            raise errors.client_disconnected()
        return work.result()
    finally:
        work.cancel()
        disconnected.cancel()


async def _disconnect(request: Request) -> None:
    """Wait until the client disconnects; the body has been read before."""
    while (await request.receive())["type"] != "http.disconnect":
        pass
