"""The settings of `prepare`. Every default is defined here, and only here."""

import hashlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, field_validator

from codenas.arch.design import VocabularyName, bpe_size
from codenas.errors import ConfigError
from codenas.processes import MAX_WORKERS
from data_prep.sources.languages import ALL, PYTHON, language_named

ENVIRONMENT = "environment"
PACKAGES, CODE = "pypi:", "code:"  # before the name of a list, and of a folder
ANY_LICENCE = "any"
# For data sets that have permissively licensed code only and do not name the licences.
PERMISSIVE_UNNAMED = "LicenseRef-permissive"
CHAR = "char"
SMALLEST_BPE, LARGEST_BPE = 262, 1 << 20  # ids; the bytes and the special tokens are 262

# The keys that always enter the digest of the settings. A key that was added later enters it only if it is not at its
# default, which must mean the earlier behaviour: corpora that were prepared before the key existed keep their digest.
_DIGESTED = frozenset((
    "source", "languages", "max_megabytes", "max_repository_megabytes", "vocab_size", "vocab_sample_megabytes", "valid_share",
    "test_share", "seed", "licences", "redact", "filters.megabytes", "filters.longest_line", "filters.mean_line", "filters.lines",
    "filters.alphanumeric_share", "filters.alphabetic_share", "filters.encoded_run", "filters.encoded_share",
    "filters.characters_per_token", "filters.least_comments", "filters.most_comments", "near_dedup.enabled", "near_dedup.shingle",
    "near_dedup.bands", "near_dedup.rows",
))  # fmt: skip
_NEVER_DIGESTED = ("workers", "vocabularies", "opt_out", "decontaminate")  # of the files named here, the content enters the digest

# SPDX identifiers of licences that require no more than a notice.
PERMISSIVE = (
    "0BSD", "Apache-2.0", "BSD-2-Clause", "BSD-3-Clause", "BSL-1.0", "CC0-1.0", "HPND", "ISC", "MIT", "MIT-0", "MIT-CMU",
    "NCSA", "PSF-2.0", "Python-2.0", "Unlicense", "Zlib", PERMISSIVE_UNNAMED,
)  # fmt: skip


class Thresholds(BaseModel):
    """Quality filters and their thresholds. Defaults are those of StarCoder (Li et al. 2023) and StarCoder2 (Lozhkov et al. 2024)."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    enabled: bool = Field(True, description="without them files go only if they are empty, larger than `megabytes` or do not parse")
    megabytes: float = Field(1.0, gt=0, description="larger files are data, not code, and would make the syntax check slow")
    longest_line: int = Field(1000, gt=0, description="characters")
    mean_line: float = Field(100, gt=0, description="characters")
    lines: int = Field(100_000, gt=0)
    alphanumeric_share: float = Field(0.25, ge=0, le=1, description="at least this share of the characters")
    alphabetic_share: float = Field(0.25, ge=0, le=1, description="at least this share of the characters")
    encoded_run: int = Field(1024, gt=0, description="characters of base64, hexadecimal bytes or escapes in a row")
    encoded_share: float = Field(0.5, ge=0, le=1, description="at most this share of the characters in such runs")
    characters_per_token: float = Field(2.5, ge=0, description="at least, for Python")
    least_comments: float = Field(
        0.01, ge=0, lt=1, description="the share of comments and docstrings in Python must be above this; 0: no bound"
    )
    most_comments: float = Field(
        0.8, gt=0, le=1, description="the share of comments and docstrings in Python must be below this; 1: no bound"
    )


class NearDedup(BaseModel):
    """Near-deduplication: of similar files only the best copy is kept. The defaults are those of BigCode (Kocetkov et al. 2022)."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    enabled: bool = True
    shingle: int = Field(5, ge=1, description="words in a shingle; files with fewer words are never near-duplicates")
    bands: int = Field(25, ge=1, le=1000)
    rows: int = Field(10, ge=1, le=1000, description="permutations per band; files that share a band are near-duplicates")


# The defaults that depend on the kind of source. Filters, licences, near-duplicates and the cap per repository are for code of
# unknown origin: parquet, packages, the environment. A folder of code is the user's own, and all that parses is kept.
_OWN_CODE: dict[str, Any] = {"filters": Thresholds(enabled=False), "licences": (ANY_LICENCE,), "near_dedup": NearDedup(enabled=False)}


class PrepareConfig(BaseModel):
    """What to prepare. `digest` identifies the result: additional vocabularies and the number of workers do not change it.

    The defaults here are those of code of unknown origin; `for_own_code` has those of a folder of code.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    source: str = Field(
        ENVIRONMENT,
        min_length=1,
        description="'environment', 'pypi:LIST', a folder of code, or parquet of the family of The Stack: a folder, hf://..., s3://...",
    )
    languages: tuple[str, ...] = Field((PYTHON,), description="names as in The Stack; empty: every language")
    max_megabytes: float = Field(34, gt=0, le=1e9, description="size of the source that is used, before the filters")
    max_repository_megabytes: float = Field(
        1, gt=0, le=1e9, description="size of the source that is used of one repository, before the filters"
    )
    vocab_size: int = Field(4096, ge=SMALLEST_BPE, le=LARGEST_BPE)
    vocabularies: tuple[VocabularyName, ...] = Field(
        (), description="additional vocabularies to tokenise the text in: 'char', 'bpe-1024', ..."
    )
    vocab_sample_megabytes: float = Field(8, gt=0, description="size of the text that the vocabulary is trained on")
    valid_share: float = Field(0.04, gt=0, lt=0.5, description="of the bytes")
    test_share: float = Field(0.04, gt=0, lt=0.5, description="of the bytes")
    seed: int = 0
    licences: tuple[str, ...] = Field(
        PERMISSIVE, min_length=1, description="SPDX identifiers; all licences of a document must be listed; 'any' allows every document"
    )
    opt_out: str | None = Field(None, min_length=1, description="file of repositories and owners to leave out, one per line")
    filters: Thresholds = Thresholds()
    decontaminate: tuple[str, ...] = Field((), description="files of benchmarks (HumanEval, MBPP) to remove from the corpus")
    redact: bool = Field(True, description="replace e-mail and IP addresses and keys")
    near_dedup: NearDedup = NearDedup()
    workers: int | None = Field(None, ge=1, le=MAX_WORKERS, description="parallel tasks; by default one per CPU of the cluster")

    @field_validator("vocabularies")
    @classmethod
    def _sizes_are_possible(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"{name!r} stands twice")
            if name != CHAR and not SMALLEST_BPE <= bpe_size(name) <= LARGEST_BPE:
                raise ValueError(f"{name!r}: a byte-level BPE has {SMALLEST_BPE} to {LARGEST_BPE:,} ids")
        return names

    @field_validator("languages", mode="before")
    @classmethod
    def _languages_are_known(cls, names: object) -> object:
        if not isinstance(names, list | tuple) or not all(isinstance(name, str) for name in names):
            return names  # pydantic says what is wrong with it
        return () if ALL in names else tuple(dict.fromkeys(map(language_named, names)))

    def for_own_code(self) -> "PrepareConfig":
        """These settings with the defaults of one's own code: what is set stays, all else lets every file pass that parses."""
        defaults = {**_OWN_CODE, "max_repository_megabytes": self.max_megabytes}
        return self.model_copy(update={name: value for name, value in defaults.items() if name not in self.model_fields_set})

    def asked_ids(self, vocabularies: Iterable[str | None]) -> dict[str | None, int]:
        """The maximum number of ids of each vocabulary, the default one (None) first; a small source has fewer."""
        own: dict[str | None, int] = {None: self.vocab_size}
        return own | {name: SMALLEST_BPE if name == CHAR else bpe_size(name) for name in vocabularies if name is not None}

    @property
    def digest(self) -> str:
        """SHA-256 of everything that determines the documents, their splits and the default vocabulary.

        Of the files in `opt_out`, `decontaminate` and `pypi:` the content is hashed, not the path.

        Raises:
            ConfigError: one of these cannot be read.
        """
        return self._digest_with(*([self.source.removeprefix(PACKAGES)] if self.source.startswith(PACKAGES) else []))

    @property
    def settings_digest(self) -> str:
        """As `digest`, without the content of a `pypi:` list: a corpus with the same settings can be updated to another list.

        Raises:
            ConfigError: a file that counts cannot be read.
        """
        return self._digest_with()

    def _digest_with(self, *lists: str) -> str:
        left_out = dict.fromkeys(_NEVER_DIGESTED, True) | ({"source": True} if self.source.startswith(PACKAGES) else {})
        settings = self.model_dump_json(exclude=_later_keys(self) | left_out)
        files = [_digest(path) for path in (self.opt_out, *self.decontaminate, *lists)]
        return hashlib.sha256("\n".join((settings, *files)).encode()).hexdigest()


def _later_keys(settings: BaseModel, table: str = "") -> dict[str, Any]:
    """The keys that were added later and are at their defaults, in the form of pydantic's `exclude`."""
    keys: dict[str, Any] = {}
    for name, field in type(settings).model_fields.items():
        value = getattr(settings, name)
        if isinstance(value, BaseModel):
            keys |= {name: nested} if (nested := _later_keys(value, f"{table}{name}.")) else {}
        elif f"{table}{name}" not in _DIGESTED and value == field.default:
            keys[name] = True
    return keys


def _digest(path: str | None) -> str:
    """SHA-256 of a file; empty without one."""
    if path is None:
        return ""
    try:
        return hashlib.sha256(Path(path).read_bytes()).hexdigest()
    except OSError as error:
        raise ConfigError(f"prepare: {path} cannot be read: {error.strerror}; name a file that exists, or leave it out") from None
