"""A source in The Stack's schema of any size, from the Python on this machine: it is repeated with other names where it is too small."""

import keyword
import re
from collections.abc import Iterator
from dataclasses import replace
from itertools import count
from pathlib import Path

from codenas.seeds import stream
from data_prep.document import Document
from data_prep.sources.environment import Environment
from data_prep.sources.parquet import write_stack

FILES = 8
_NAME = re.compile(r"\b(?!(?:" + "|".join(keyword.kwlist) + r")\b)[A-Za-z_]\w{4,}\b")
_TWICE = 50  # one document in so many stands there twice
_LARGEST = 200_000  # bytes; a few larger ones would make a row group of their own


def write_source(folder: Path, megabytes: float, seed: int = 0) -> Path:
    """Write about `megabytes` of text as `FILES` files, unless they are there; the same seed gives the same bytes."""
    if not folder.exists():
        for number, part in enumerate(_parts(documents(seed), megabytes * 1e6 / FILES)):
            folder.mkdir(parents=True, exist_ok=True)
            write_stack(part, folder / f"train-{number:05d}-of-{FILES:05d}.parquet")
    return folder


def documents(seed: int = 0) -> Iterator[Document]:
    """Endless documents in an order drawn from the seed; a few stand twice, others are like none before."""
    environment = Environment()
    found = environment.find()
    stream(seed, "order").shuffle(found)
    for copy in count():
        for number, entry in enumerate(found):
            document = environment.read(entry) if entry.size <= _LARGEST else "too large"
            if isinstance(document, str):
                continue
            text = _NAME.sub(rf"\g<0>_{copy}", document.text) if copy else document.text
            renamed = replace(document, repository=f"{document.repository}-{copy}", licences=("MIT",), text=text)
            yield from [renamed] * (2 if number % _TWICE == 0 else 1)


def _parts(held: Iterator[Document], size: float) -> Iterator[Iterator[Document]]:
    """`FILES` runs of documents of about `size` bytes; each must be read to its end before the next."""
    for _ in range(FILES):
        yield _taken(held, size)


def _taken(held: Iterator[Document], size: float) -> Iterator[Document]:
    taken = 0
    while taken < size:
        document = next(held)
        taken += len(document.data)
        yield document
