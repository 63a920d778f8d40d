"""How the data sets of The Stack's family name what a document has. A new one is one `Dialect` here."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import pyarrow as pa

from codenas.errors import CorpusError
from data_prep.config import CODE, PERMISSIVE_UNNAMED
from data_prep.sources.languages import language_of

# What the repository, the path and the stars are, before the first line of some documents of starcoderdata.
_METADATA = re.compile(r"\A<(?:reponame|filename|gh_stars)>[^\n]*\n?")


@dataclass(frozen=True, slots=True)
class Dialect:
    """The columns of one data set; None for what it does not tell.

    Attributes:
        content: the text; where it is None, each text is a file of its own, named as `blob` says.
        licences: a list per row. Without one the data set has permissive code only.
        encoding: of the files that hold the texts.
        flags: columns of truth values, each with the reason not to train on a row where it is true.
        marks: other columns by which the data set is known.
        clean: what stands before the code of a document and is none of it.
    """

    name: str
    repository: str
    path: str
    content: str | None = "content"
    blob: str | None = None
    encoding: str | None = None
    licences: str | None = None
    language: str | None = None
    size: str | None = None
    stars: str | None = None
    flags: tuple[tuple[str, str], ...] = ()
    marks: tuple[str, ...] = ()
    clean: re.Pattern[str] | None = None

    @property
    def strings(self) -> tuple[str, ...]:
        """The columns of strings that a file must have, `content` last."""
        return _named(self.repository, self.path, self.language, self.encoding, self.blob, self.content)

    @property
    def required(self) -> tuple[str, ...]:
        """The columns that a file must have."""
        return _named(self.repository, self.path, self.licences, self.size, *self.strings, *self.marks)

    @property
    def listed(self) -> tuple[str, ...]:
        """The columns that decisions need. The stars may be missing: subsets of The Stack lack them."""
        return _named(self.repository, self.path, self.licences, self.language, self.size, self.stars, *(name for name, _ in self.flags))

    @property
    def read(self) -> tuple[str, ...]:
        """The columns that a document is made of."""
        return _named(self.repository, self.path, self.licences, self.language, self.size, self.encoding, self.blob, self.content)

    def licences_of(self, names: list[str | None] | None) -> tuple[str, ...]:
        """The licences of a row, sorted."""
        if self.licences is None:
            return (PERMISSIVE_UNNAMED,)
        return _once(tuple(sorted({name for name in names or () if name})))

    def language_of(self, language: str | None, path: str) -> str:
        """What the row says, or else the name of its file."""
        return language or language_of(path)

    def code(self, text: str) -> str:
        """The text without what the data set put before it."""
        return self.clean.sub("", text) if self.clean else text


V1 = Dialect(
    "The Stack v1",
    "max_stars_repo_name",
    "max_stars_repo_path",
    licences="max_stars_repo_licenses",
    language="lang",
    size="size",
    stars="max_stars_count",
)
SMOL = Dialect("the-stack-smol", "repository_name", "path", licences="licenses", language="lang", size="size")
STARCODER = Dialect("starcoderdata", "max_stars_repo_name", "max_stars_repo_path", stars="max_stars_count", marks=("id",), clean=_METADATA)
_V2_FLAGS = (("is_vendor", "vendored copy"), ("is_generated", "generated"))
V2 = Dialect(
    "The Stack v2 with its texts",
    "repo_name",
    "path",
    licences="detected_licenses",
    language="language",
    size="length_bytes",
    stars="star_events_count",
    flags=_V2_FLAGS,
)
V2_IDS = Dialect(
    "The Stack v2",
    "repo_name",
    "path",
    content=None,
    blob="blob_id",
    encoding="src_encoding",
    licences="detected_licenses",
    language="language",
    size="length_bytes",
    stars="star_events_count",
    flags=_V2_FLAGS,
)
DIALECTS = (V1, SMOL, V2, V2_IDS, STARCODER)


def dialect_of(found: pa.Schema, file: str) -> Dialect:
    """The data set that a file with the columns `found` is of.

    Raises:
        CorpusError: columns are missing or of another type; they are named, with what was found.
    """
    missing = {dialect.name: [name for name in dialect.required if name not in found.names] for dialect in DIALECTS}
    for dialect in DIALECTS:
        if not missing[dialect.name]:
            _check_types(dialect, found, file)
            return dialect
    near = min(DIALECTS, key=lambda dialect: len(missing[dialect.name]))
    if 2 * len(missing[near.name]) > len(near.required):  # it is near to none
        near = V1
    held = ", ".join(found.names) or "none"
    raise CorpusError(
        f"{file} lacks the columns {', '.join(missing[near.name])} of {near.name}; it has {held}; take it out of the source, or give "
        f"{CODE}FOLDER for the code of a folder that holds parquet too"
    )


def _check_types(dialect: Dialect, found: pa.Schema, file: str) -> None:
    wrong = [
        f"{name} is {found.field(name).type} and must be {wanted}"
        for name, wanted in _types(dialect)
        if not _same_kind(found.field(name).type, wanted)
    ]
    if wrong:
        raise CorpusError(f"{file} has columns of another type than {dialect.name}: {', '.join(wrong)}")


def _types(dialect: Dialect) -> Iterator[tuple[str, pa.DataType]]:
    yield from ((name, pa.string()) for name in dialect.strings)
    if dialect.licences:
        yield dialect.licences, pa.list_(pa.string())
    if dialect.size:
        yield dialect.size, pa.int64()


def _same_kind(found: pa.DataType, wanted: pa.DataType) -> bool:
    if pa.types.is_list(wanted):
        return (pa.types.is_list(found) or pa.types.is_large_list(found)) and _same_kind(found.value_type, wanted.value_type)
    if pa.types.is_string(wanted):
        return pa.types.is_string(found) or pa.types.is_large_string(found)
    return pa.types.is_integer(found)


@lru_cache(maxsize=4096)
def _once(names: tuple[str, ...]) -> tuple[str, ...]:
    """A few licences stand in millions of rows: each is in memory once."""
    return names


def _named(*columns: str | None) -> tuple[str, ...]:
    return tuple(dict.fromkeys(name for name in columns if name))
