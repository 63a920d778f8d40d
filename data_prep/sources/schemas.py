"""The column names of the data sets of The Stack's family. A new data set is one `Schema` here."""

import re
from dataclasses import dataclass
from functools import lru_cache

import pyarrow as pa

from codenas.errors import CorpusError
from data_prep.config import CODE, PERMISSIVE_UNNAMED
from data_prep.sources.columns import Kind, hive_columns, is_of_kind, refusal
from data_prep.sources.languages import language_of

# Repository, path and stars, in a line before some documents of starcoderdata.
_HEADER = re.compile(r"\A<(?:reponame|filename|gh_stars)>[^\n]*\n?")


@dataclass(frozen=True, slots=True)
class Schema:
    """The columns of one data set; None for what it does not have.

    Attributes:
        content: the text; where it is None, each text is a file of its own, which `blob` names.
        licences: a list per row. A data set without the column has permissively licensed code only.
        encoding: of the files that hold the texts.
        flags: boolean columns, each with the reason not to train on a row where it is true.
        distinctive: further columns by which the data set is recognised.
        header: what stands before the code of a document and is no part of it.
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
    distinctive: tuple[str, ...] = ()
    header: re.Pattern[str] | None = None

    @property
    def kinds(self) -> dict[str, Kind]:
        """The kind of value in each required column."""
        texts = _named(self.repository, self.path, self.language, self.encoding, self.blob, self.content)
        kinds: dict[str, Kind] = dict.fromkeys(texts, "text")
        kinds |= dict.fromkeys(_named(self.licences), "texts")
        return kinds | dict.fromkeys(_named(self.size), "number")

    @property
    def required(self) -> tuple[str, ...]:
        """The columns that a file must have."""
        return (*self.kinds, *self.distinctive)

    @property
    def metadata_columns(self) -> tuple[str, ...]:
        """The columns that are read of every row. Stars and flags may be missing: subsets of The Stack lack them."""
        flags = (name for name, _ in self.flags)
        return _named(self.repository, self.path, self.licences, self.language, self.size, self.stars, *flags)

    @property
    def document_columns(self) -> tuple[str, ...]:
        """The columns that a document is made of."""
        return _named(self.repository, self.path, self.licences, self.language, self.size, self.encoding, self.blob, self.content)

    def licences_of(self, names: list[str | None] | None) -> tuple[str, ...]:
        """The licences of a row, sorted."""
        if self.licences is None:
            return (PERMISSIVE_UNNAMED,)
        return _interned(tuple(sorted({name for name in names or () if name})))

    def language_of(self, language: str | None, path: str) -> str:
        """The language that the row states, or else that of the file name."""
        return language or language_of(path)

    def without_header(self, text: str) -> str:
        """The text without what the data set put before it."""
        return self.header.sub("", text) if self.header else text


V1 = Schema(
    "The Stack v1",
    "max_stars_repo_name",
    "max_stars_repo_path",
    licences="max_stars_repo_licenses",
    language="lang",
    size="size",
    stars="max_stars_count",
)
SMOL = Schema("the-stack-smol", "repository_name", "path", licences="licenses", language="lang", size="size")
STARCODER = Schema(
    "starcoderdata", "max_stars_repo_name", "max_stars_repo_path", stars="max_stars_count", distinctive=("id",), header=_HEADER
)
_V2_FLAGS = (("is_vendor", "vendored copy"), ("is_generated", "generated"))
V2 = Schema(
    "The Stack v2 with its texts",
    "repo_name",
    "path",
    licences="detected_licenses",
    language="language",
    size="length_bytes",
    stars="star_events_count",
    flags=_V2_FLAGS,
)
V2_IDS = Schema(
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
SCHEMAS = (V1, SMOL, V2, V2_IDS, STARCODER)


def schema_of(found: pa.Schema, file: str) -> Schema:
    """The schema of the data set that a file with the columns `found`, and those that its folders name, belongs to.

    Raises:
        CorpusError: columns are missing or of another type; they are named, with what was found.
    """
    names = {*found.names, *hive_columns(file)}
    missing = {schema.name: [name for name in schema.required if name not in names] for schema in SCHEMAS}
    for schema in SCHEMAS:
        if not missing[schema.name]:
            _check_types(schema, found, file)
            return schema
    nearest = min(SCHEMAS, key=lambda schema: len(missing[schema.name]))
    if 2 * len(missing[nearest.name]) > len(nearest.required):  # it resembles none
        nearest = V1
    held = ", ".join(found.names) or "none"
    raise CorpusError(
        f"{file} lacks the columns {', '.join(missing[nearest.name])} of {nearest.name}; it has {held}; take it out of "
        f"the source, or give {CODE}FOLDER for the code of a folder that holds parquet too"
    )


def _check_types(schema: Schema, found: pa.Schema, file: str) -> None:
    types = {name: found.field(name).type for name in schema.kinds if name in found.names}
    wrong = [refusal(name, types[name], kind) for name, kind in schema.kinds.items() if name in types and not is_of_kind(types[name], kind)]
    if wrong:
        raise CorpusError(f"{file} has columns of another type than {schema.name}: {', '.join(wrong)}")


@lru_cache(maxsize=4096)
def _interned(names: tuple[str, ...]) -> tuple[str, ...]:
    """A few licences occur in millions of rows: each tuple is in memory once."""
    return names


def _named(*columns: str | None) -> tuple[str, ...]:
    return tuple(dict.fromkeys(name for name in columns if name))
