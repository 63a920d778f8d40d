"""The sample that vocabularies are trained on, and the encoding of documents."""

import os
from collections.abc import Iterable, Iterator
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from codenas.seeds import derive
from codenas.vocab import END_OF_TEXT, Vocabulary, load_vocabulary
from data_prep.document import Document, Entry
from data_prep.rules.redact import redact
from data_prep.sources.locations import Location
from data_prep.sources.parquet import read_documents, readable_parquet
from data_prep.units import Unit, units_of

TOKENS = pa.schema(
    [
        ("split", pa.string()),
        ("documents", pa.int64()),
        ("bytes", pa.int64()),
        ("tokens", pa.list_(pa.uint32())),
        ("sizes", pa.list_(pa.int64())),  # bytes of each document
        ("lengths", pa.list_(pa.int64())),  # tokens of each document, the end-of-text id included
        ("languages", pa.list_(pa.string())),  # of each document
    ]
)
_SAMPLED_UNITS = 256  # a sample spread over every row group of a large source would read all of it


def sample(entries: Iterable[Entry], limit: int, seed: int) -> list[Entry]:
    """A random sample of entries of at most about `limit` bytes, from many repositories, the same for the same seed."""
    groups = units_of(entries)
    groups.sort(key=lambda unit: derive(seed, "vocabulary", unit.file, unit.row_group))
    chosen = {(unit.file, unit.row_group) for unit in groups[:_SAMPLED_UNITS]}
    candidates = [entry for entry in entries if (entry.file, entry.row_group) in chosen]
    candidates.sort(key=lambda entry: (derive(seed, "vocabulary", *entry.key), entry.key))
    taken: list[Entry] = []
    held = 0
    for entry in candidates:
        if not taken or held + entry.size <= limit:
            taken.append(entry)
            held += entry.size
    return taken


def texts_of(entries: Iterable[Entry], root: Location, redacted: bool = False) -> Iterator[str]:
    """The texts of entries, in the order of the source; with `redacted` as they were processed."""
    for unit in units_of(entries):
        yield from (document.text for document in _documents(unit, root, redacted))


def encode(units: pa.Table, root: Location, tokenizer: Path, redacted: bool = False) -> pa.Table:
    """Token ids of the documents of `units`, each ended by the end-of-text id: one row per unit and split.

    Runs in a worker; all of it on one thread, as there are as many workers as processors.
    """
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    state = tokenizer.stat()  # a corpus that is prepared again has another vocabulary at the same path
    vocabulary = _load(tokenizer, state.st_ino, state.st_mtime_ns)
    return pa.concat_tables(
        pa.Table.from_pylist(list(_encode_unit(unit, _documents(unit, root, redacted), vocabulary)), TOKENS)
        for unit in Unit.from_table(units)
    )


def _encode_unit(unit: Unit, documents: list[Document], vocabulary: Vocabulary) -> Iterator[dict[str, Any]]:
    end = vocabulary.specials[END_OF_TEXT]
    encoded = [np.array([*vocabulary.encode(document.text), end], np.uint32) for document in documents]
    for split in sorted(set(unit.splits)):
        members = [index for index, of in enumerate(unit.splits) if of == split]
        sizes = [len(documents[index].data) for index in members]
        yield {
            "split": split,
            "documents": len(members),
            "bytes": sum(sizes),
            "tokens": np.concatenate([encoded[index] for index in members]),
            "sizes": sizes,
            "lengths": [len(encoded[index]) for index in members],
            "languages": [documents[index].language for index in members],
        }


def _documents(unit: Unit, root: Location, redacted: bool) -> list[Document]:
    """The documents of a unit; all of them were readable when they were processed."""
    file = root / unit.file
    with readable_parquet(file):
        held = [document for document in read_documents(file, unit.row_group, unit.rows) if isinstance(document, Document)]
    return [replace(one, text=redact(one.text, one.language).text) for one in held] if redacted else held


@lru_cache(maxsize=1)
def _load(tokenizer: Path, _inode: int, _modified_ns: int) -> Vocabulary:
    return load_vocabulary(tokenizer)
