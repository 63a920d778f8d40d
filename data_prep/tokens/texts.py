"""Texts by language for token statistics: from a prepared corpus, parquet of The Stack's family, or a folder of code."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import overload

import pyarrow as pa

from codenas.corpus import Corpus, card_of
from codenas.errors import CorpusError
from codenas.log import LOGGER
from codenas.seeds import derive
from codenas.vocab import load_vocabulary
from data_prep.config import CODE
from data_prep.document import Document, Entry
from data_prep.entry_table import load_entries
from data_prep.rules.select import total_cap
from data_prep.sources.code_folder import CodeFolder
from data_prep.sources.languages import language_of
from data_prep.sources.locations import holds_parquet
from data_prep.sources.parquet import list_entries, parquet_files, read_documents, readable_parquet
from data_prep.statistics import Statistics
from data_prep.tokens.tokenise import sample
from data_prep.units import units_of

UNKNOWN = "unknown"
_DOCUMENTS = "documents.parquet"
_LARGEST = 1_000_000  # bytes of a file; larger ones are data, not code


class Texts(Sequence[str]):
    """The texts of one language as an Arrow column, which Ray shares between processes without copies."""

    def __init__(self, column: pa.ChunkedArray) -> None:
        self.column = column

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> "Texts": ...
    def __getitem__(self, index: int | slice) -> "str | Texts":
        """A text, or some of them."""
        return Texts(self.column[index]) if isinstance(index, slice) else str(self.column[int(index)].as_py())

    def __len__(self) -> int:
        return len(self.column)


def read_texts(source: Path, megabytes: float, seed: int, split: str = "train") -> dict[str, Texts]:
    """The texts of `source` by language: a random sample of about `megabytes`, the same for the same seed.

    Args:
        split: of a prepared corpus; other sources have no splits.

    Raises:
        CorpusError: the source is missing, empty or damaged.
    """
    held: dict[str, list[str]] = defaultdict(list)
    unreadable: Counter[str] = Counter()
    for document in _documents(source, round(megabytes * 1e6), seed, split):
        if isinstance(document, str):
            unreadable[document] += 1
        elif document.text:
            held[document.language or UNKNOWN].append(document.text)
    if unreadable:
        reasons = ", ".join(f"{count:,} {reason}" for reason, count in sorted(unreadable.items()))
        LOGGER.warning(f"{source}: {unreadable.total():,} documents are left out ({reasons})")
    if not held:
        raise CorpusError(f"the source {source} is empty: it has 0 documents with text; give a corpus, parquet or a folder of code")
    return {language: Texts(pa.chunked_array([pa.array(texts, pa.large_string())])) for language, texts in sorted(held.items())}


def _documents(source: Path, limit: int, seed: int, split: str) -> Iterator[Document | str]:
    """The documents of a source of any kind; the reason in place of one that cannot be read."""
    if str(source).startswith(CODE):
        return _of_folder(Path(str(source).removeprefix(CODE)), limit, seed)
    if not source.exists():
        raise CorpusError(f"there is no source {source}; give a prepared corpus, parquet in The Stack v1 schema, or a folder of code")
    if card_of(source) is not None:
        return _of_corpus(Corpus.open(source), split, limit, seed)
    if source.is_file() or holds_parquet(source):
        root = source.parent if source.is_file() else source
        return _of_entries(sample(list(list_entries(parquet_files(source), root)), limit, seed), root)
    return _of_folder(source, limit, seed)


def _of_corpus(corpus: Corpus, split: str, limit: int, seed: int) -> Iterator[Document]:
    """The documents of a corpus, decoded from its tokens, since its source may no longer exist."""
    if not (corpus.path / _DOCUMENTS).is_file():
        raise CorpusError(f"{corpus.path} does not say which documents it holds (it has no {_DOCUMENTS}); give the text it was made of")
    every = sorted(load_entries(corpus.path / _DOCUMENTS)[0], key=lambda entry: entry.place)  # the order of the shards
    splits = sorted({entry.split for entry in every})
    if split not in splits:
        raise CorpusError(f"{corpus.path} has no split {split!r}; it has {', '.join(splits)}")
    entries = [entry for entry in every if entry.split == split]
    chosen = {entry.place for entry in sample(entries, limit, seed)}
    vocabulary = load_vocabulary(corpus.tokenizer_path)
    for entry, ids in zip(entries, corpus.split(split).documents(), strict=True):
        if entry.place in chosen:
            text = vocabulary.decode(ids.tolist()).decode()
            yield Document(entry.repository, entry.path, entry.licences, entry.language or language_of(entry.path), text)


def _of_entries(entries: Iterable[Entry], root: Path) -> Iterator[Document | str]:
    for unit in units_of(entries):
        with readable_parquet(root / unit.file):
            documents = list(read_documents(root / unit.file, unit.row_group, unit.rows))
        yield from documents


def _of_folder(folder: Path, limit: int, seed: int) -> Iterator[Document | str]:
    """The files that `codenas prepare` would take from a folder of code, under any licence."""
    code = CodeFolder(folder, _LARGEST)
    sound: list[Entry] = []
    for entry in code.find():
        if reason := code.objection(entry):
            yield reason
        else:
            sound.append(entry)
    sound.sort(key=lambda entry: (derive(seed, "vocabulary", *entry.key), entry.key))
    yield from map(code.read, Statistics(code.description).filter(sound, total_cap(limit)))
