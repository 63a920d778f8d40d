"""Sources of single files (the environment, packages, folders of code): converted to parquet of The Stack v1 before they are processed."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Protocol

from pydantic import ValidationError

from codenas.errors import SourceTooSmallError
from codenas.files import atomic_folder, write_atomic
from data_prep.config import CODE, ENVIRONMENT, PACKAGES, PrepareConfig
from data_prep.document import Document, Entry
from data_prep.rules.opt_out import load_opt_out, opted_out
from data_prep.rules.select import nothing_left, select, wanted_language
from data_prep.sources.code_folder import CodeFolder
from data_prep.sources.environment import Environment
from data_prep.sources.locations import holds_parquet, location_of
from data_prep.sources.packages import Packages
from data_prep.sources.parquet import list_entries, parquet_files, write_stack
from data_prep.statistics import Statistics, StatisticsFile, damaged

SOURCE = "source"  # the folder of the parquet inside a corpus
STATISTICS = "ledger.json"  # in it: what was left out


class FileSource(Protocol):
    """A source whose files can be listed before they are read.

    Attributes:
        name: of the parquet file.
        description: of the content, the same on every machine with the same content.
    """

    @property
    def name(self) -> str:
        """One word."""

    @property
    def description(self) -> str:
        """One line."""

    def find(self) -> list[Entry]:
        """Every file of code, unread, sorted by repository and path."""

    def objection(self, entry: Entry) -> str | None:
        """The reason not to take an entry; None to take it."""

    def read(self, entry: Entry) -> Document | str:
        """The document of an entry that `find` returned; the reason if it cannot be read."""


def is_file_source(source: str) -> bool:
    """Whether the name `source` alone tells that it is a source of files; a folder may hold parquet or code."""
    return source == ENVIRONMENT or source.startswith((PACKAGES, CODE))


def with_source_defaults(config: PrepareConfig, output: Path) -> PrepareConfig:
    """The settings with the defaults of their kind of source: the user's own code is filtered only if that is asked for.

    Args:
        output: the folder of the corpus, which still tells the kind if the source is gone.
    """
    return config.for_own_code() if _is_own_code(config, output) else config


def _is_own_code(config: PrepareConfig, output: Path) -> bool:
    if is_file_source(config.source):
        return config.source.startswith(CODE)
    place = location_of(config.source)
    if isinstance(place, Path) and not place.exists():
        return (output / SOURCE / f"{CodeFolder.name}.parquet").exists()
    return isinstance(file_source_of(config), CodeFolder)


def file_source_of(config: PrepareConfig, environment: Environment | None = None) -> FileSource | None:
    """The source of `config` if it consists of files; None if it is parquet.

    Args:
        environment: the Python whose source is read if the source is "environment"; the running one by default.

    Raises:
        CorpusError, ConfigError: the source is missing, or of an unknown kind.
    """
    source, largest = config.source, round(config.filters.megabytes * 1e6)
    if source == ENVIRONMENT:
        return environment or Environment()
    if source.startswith(PACKAGES):
        return Packages(Path(source.removeprefix(PACKAGES)), largest)
    if source.startswith(CODE):
        return CodeFolder(Path(source.removeprefix(CODE)), largest)
    place = location_of(source)
    if isinstance(place, Path) and place.is_dir() and any(place.iterdir()) and not holds_parquet(place):
        return CodeFolder(place, largest)
    return None


def convert(config: PrepareConfig, source: FileSource, root: Path) -> None:
    """Write the documents that `config` selects as parquet to the new folder `root`, with statistics of what was left out.

    Raises:
        SourceTooSmallError: nothing is left.
    """
    statistics = Statistics(source.description)
    accepted = statistics.filter(statistics.record("found", source.find()), source.objection)
    selected = select(eligible(accepted, config, statistics), config, statistics)
    if not selected:
        raise SourceTooSmallError(nothing_left(config, statistics))
    with atomic_folder(root) as folder:
        write_stack(_readable(selected, source, statistics), folder / f"{source.name}.parquet")
        write_atomic(folder / STATISTICS, statistics.to_file().model_dump_json(indent=1) + "\n")


def load_converted(root: Path) -> tuple[list[Entry], Statistics]:
    """The documents that `convert` wrote, and its statistics.

    Raises:
        CorpusError: a file is damaged.
    """
    try:
        stored = StatisticsFile.model_validate_json((root / STATISTICS).read_bytes())
    except (OSError, ValidationError) as error:
        raise damaged(root / STATISTICS, error) from None
    return list(list_entries(parquet_files(root), root)), Statistics.from_file(stored)


def eligible(entries: Iterable[Entry], config: PrepareConfig, statistics: Statistics) -> list[Entry]:
    """The entries without a flag of the source, in a language that is asked for, and whose owners have not opted out."""
    unflagged = statistics.filter(entries, lambda entry: entry.flag or None)
    wanted = statistics.filter(unflagged, wanted_language(config.languages))
    return statistics.filter(wanted, opted_out(load_opt_out(config.opt_out)))


def _readable(entries: list[Entry], source: FileSource, statistics: Statistics) -> Iterator[Document]:
    for entry in entries:
        document = source.read(entry)
        if isinstance(document, str):
            statistics.drop(document, entry.size)
        else:
            yield document
