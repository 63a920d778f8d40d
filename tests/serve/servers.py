"""A tiny checkpoint, and the application on a real port of this machine without Ray."""

import asyncio
import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import torch
import uvicorn
from fastapi import FastAPI

from codenas.arch import ArchSpec, AttentionSpec
from codenas.checkpoint import Checkpoint, Manifest, write_checkpoint
from codenas.decode import TorchBackend
from codenas.model import LanguageModel, build_model
from codenas.vocab import Char
from serve.app import create_app
from serve.settings import ServeSettings

VOCABULARY = Char("éü∑数😀")
CONTEXT = 64
MODEL_NAME = "tiny"
PATIENCE_S = 30


def tiny_model(seed: int = 1, context_len: int = CONTEXT) -> LanguageModel:
    """Random weights that talk on: special tokens have the score 0, which is never the best one."""
    arch = ArchSpec(d_model=16, n_layers=2, pattern=(AttentionSpec(n_heads=2, n_kv_heads=1),), context_len=context_len)
    model = build_model(arch, VOCABULARY.size, seed)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(0, 0.5, generator=generator)
        model.embedding.weight[list(VOCABULARY.specials.values())] = 0
    return model.eval()


def write_tiny_checkpoint(folder: Path, context_len: int = CONTEXT, training: Mapping[str, object] | None = None) -> Checkpoint:
    """A checkpoint of `tiny_model` that says it had `training`."""
    model = tiny_model(context_len=context_len)
    manifest = Manifest(
        arch=model.arch, vocab_size=VOCABULARY.size, vocab_digest=VOCABULARY.digest, corpus_digest="none", step=1, train_tokens=1,
        training=dict(training or {}),
    )  # fmt: skip
    VOCABULARY.save(folder / "tokenizer.json")
    return write_checkpoint(folder / "model", dict(model.named_parameters()), manifest, folder / "tokenizer.json")


@contextlib.contextmanager
def running(app: FastAPI) -> Iterator[str]:
    """Serve `app` in a thread; yields its URL."""
    # The protocol is named because asyncio sends without delay (TCP_NODELAY) only where it sees it.
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.bind(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(app, log_level="error", lifespan="on"))
    started, startup = threading.Event(), server.startup

    async def announce(sockets: list[socket.socket] | None = None) -> None:
        await startup(sockets)
        started.set()

    server.startup = announce  # type: ignore[method-assign]
    thread = threading.Thread(target=lambda: asyncio.run(server.serve([listener])), daemon=True)
    thread.start()
    assert started.wait(10)
    yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    server.should_exit = True
    thread.join(10)
    assert not thread.is_alive()


def tiny_app(model: LanguageModel | None = None, **settings: object) -> FastAPI:
    """The application over a tiny model."""
    return _app(tiny_settings(**settings), model)


def infilling_app(model: LanguageModel | None = None, suffix_first: bool = False) -> FastAPI:
    """The same over one that was taught to fill in the middle."""
    return _app(tiny_settings(), model, True, suffix_first)


def _app(settings: ServeSettings, model: LanguageModel | None, infills: bool = False, suffix_first: bool = False) -> FastAPI:
    return create_app(settings, TorchBackend(model or tiny_model(), settings.max_batch), VOCABULARY, infills, suffix_first)


def tiny_settings(**settings: object) -> ServeSettings:
    """Of an endpoint whose model is at hand."""
    return ServeSettings.model_validate({"checkpoint": Path("unused"), "model_name": MODEL_NAME, **settings})


def until(condition: Callable[[], bool], between: Callable[[], object] = lambda: None) -> None:
    """Ask until `condition` holds, doing `between`."""
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        between()
