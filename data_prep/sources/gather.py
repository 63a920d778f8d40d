"""Sources that are no parquet: what they hold is brought into The Stack v1, and read by the reader that reads The Stack."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Protocol

from pydantic import ValidationError

from codenas.errors import CorpusError
from codenas.files import atomic_folder, write_atomic
from data_prep.config import CODE, ENVIRONMENT, PACKAGES, PrepareConfig
from data_prep.document import Document, Entry
from data_prep.ledger import Ledger, LedgerPage, damaged
from data_prep.rules.opt_out import load_opt_out, opted_out
from data_prep.rules.select import nothing_left, select, wanted_language
from data_prep.sources.code_folder import CodeFolder
from data_prep.sources.environment import Environment
from data_prep.sources.locations import holds_parquet, location_of
from data_prep.sources.packages import Packages
from data_prep.sources.parquet import list_entries, parquet_files, write_stack

SOURCE = "source"  # the folder in a corpus where they are brought
BOOKS = "ledger.json"  # in it, of what was left out


class Gatherer(Protocol):
    """A source of documents that can be listed before they are read.

    Attributes:
        name: what the file of parquet is called.
        description: what is gathered, the same on every machine that gathers the same.
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
        """Why not to take an entry."""

    def read(self, entry: Entry) -> Document | str:
        """The document of an entry that `find` returned; the reason where it cannot be read."""


def is_gathered(source: str) -> bool:
    """Whether `source` says by itself that it is no parquet."""
    return source == ENVIRONMENT or source.startswith((PACKAGES, CODE))


def with_source_defaults(config: PrepareConfig, output: Path) -> PrepareConfig:
    """The settings with the defaults of their kind of source: one's own code is filtered only where that is asked for.

    Args:
        output: the folder of the corpus, which still tells the kind if the source is gone.
    """
    return config.for_own_code() if _is_own_code(config, output) else config


def _is_own_code(config: PrepareConfig, output: Path) -> bool:
    if is_gathered(config.source):
        return config.source.startswith(CODE)
    place = location_of(config.source)
    if isinstance(place, Path) and not place.exists():
        return (output / SOURCE / f"{CodeFolder.name}.parquet").exists()
    return isinstance(gatherer_of(config), CodeFolder)


def gatherer_of(config: PrepareConfig, environment: Environment | None = None) -> Gatherer | None:
    """What gathers the source of `config`; None where it is parquet already.

    Args:
        environment: the Python whose source is read where the source is "environment"; this one by default.

    Raises:
        CorpusError, ConfigError: the source is missing, or of no kind that is known.
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


def gather(config: PrepareConfig, gatherer: Gatherer, root: Path) -> None:
    """Write the documents that `config` wants as parquet in the new folder `root`, with the books of what was left out.

    Raises:
        CorpusError: nothing is left.
    """
    ledger = Ledger(gatherer.description)
    own = ledger.sift(ledger.enter("found", gatherer.find()), gatherer.objection)
    selected = select(agreed(own, config, ledger), config, ledger)
    if not selected:
        raise CorpusError(nothing_left(config, ledger))
    with atomic_folder(root) as folder:
        write_stack(_readable(selected, gatherer, ledger), folder / f"{gatherer.name}.parquet")
        write_atomic(folder / BOOKS, ledger.page().model_dump_json(indent=1) + "\n")


def gathered(root: Path) -> tuple[list[Entry], Ledger]:
    """The documents that `gather` wrote, and its books."""
    try:
        page = LedgerPage.model_validate_json((root / BOOKS).read_bytes())
    except (OSError, ValidationError) as error:
        raise damaged(root / BOOKS, error) from None
    return list(list_entries(parquet_files(root), root)), Ledger.reopen(page)


def agreed(entries: Iterable[Entry], config: PrepareConfig, ledger: Ledger) -> list[Entry]:
    """Without those that the source flags, those of other languages, and those whose owners asked to be left out."""
    sound = ledger.sift(entries, lambda entry: entry.flag or None)
    return ledger.sift(ledger.sift(sound, wanted_language(config.languages)), opted_out(load_opt_out(config.opt_out)))


def _readable(entries: list[Entry], gatherer: Gatherer, ledger: Ledger) -> Iterator[Document]:
    for entry in entries:
        document = gatherer.read(entry)
        if isinstance(document, str):
            ledger.drop(document, entry.size)
        else:
            yield document
