"""What the prepare stage does, step by step, on files. How work gets to many processors is the caller's: a `Stream`."""

import hashlib
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
from pydantic import ValidationError

from codenas.arch.design import bpe_size
from codenas.corpus import CARD, Corpus, Figures, SourceSize, card_of
from codenas.corpus.manifest import dtype_for
from codenas.corpus.shards import VOCABULARIES
from codenas.errors import CorpusError
from codenas.files import readable_disk_errors, sha256_file, write_atomic
from codenas.log import LOGGER
from codenas.vocab import Bpe, Char, Vocabulary, load_vocabulary
from data_prep.config import CHAR, PrepareConfig
from data_prep.decide import decide
from data_prep.document import Entry
from data_prep.ledger import BadRow, Ledger, damaged, load_entries, save_entries, save_quarantine
from data_prep.meter import Meter
from data_prep.rules.decontaminate import load_benchmarks
from data_prep.rules.opt_out import load_opt_out
from data_prep.rules.select import select
from data_prep.rules.split import SPLITS
from data_prep.sources.environment import Environment
from data_prep.sources.gather import BOOKS, SOURCE, agreed, gather, gathered, gatherer_of, is_gathered, with_source_defaults
from data_prep.sources.locations import Location, folder_of, location_of
from data_prep.sources.parquet import list_entries, parquet_files
from data_prep.tokens.journal import JournaledShards, Tokenised, parts_of
from data_prep.tokens.tokenise import encode, sample, texts_of
from data_prep.unit_store import SourceList, UnitStore, list_row_groups, same_row_groups
from data_prep.units import Examiner, Unit, by_unit, judge, units_of

Work = Callable[[pa.Table], pa.Table]
# Does some work on units, on some of them at a time, and yields the results in the order of the units.
Stream = Callable[[list[Unit], Work], Iterator[pa.Table]]

SOURCE_LIST, UNITS, QUARANTINE = "source.json", "units", "quarantine.jsonl"
_LEDGER, _DOCUMENTS = "ledger.json", "documents.parquet"
_NO_NAME = "no name"
_OWN, _CHARACTERS = "tokenizer.json", "vocab-char.json"


def existing(config: PrepareConfig, output: Path, update: bool = False) -> Corpus | None:
    """The corpus of `config` with all its vocabularies, if it is finished in `output`; None if some of it is to be made.

    With `update` it is to be made anew where its source has changed.

    Raises:
        CorpusError: `output` holds something else, or the source is missing, empty or broken.
    """
    config = with_source_defaults(config, output)
    corpus = finished(config, output, update)
    if corpus is not None and outdated(config, corpus, update):
        return None
    if corpus is not None and lacking(config, corpus):
        kept_source(config, corpus.path)
        return None
    return corpus


def outdated(config: PrepareConfig, corpus: Corpus, update: bool) -> bool:
    """Whether `corpus` is to be made anew, its source having changed; without `update` it stays, and the log says so.

    Raises:
        CorpusError: it is to be updated, and its source is gone.
    """
    if not update:
        _tell_of_changes(config, corpus.path)
        return False
    if gatherer_of(config):
        return True  # whether anything has changed shows when it is gathered anew
    place = location_of(config.source)
    files = parquet_files(place)
    return not (corpus.path / SOURCE_LIST).exists() or not same_row_groups(read_source_list(corpus.path), files, folder_of(place))


def _tell_of_changes(config: PrepareConfig, corpus: Path) -> None:
    """Warn where parquet on this machine is other than it was; nobody waits for a network, or for a folder to be searched, to be told."""
    if is_gathered(config.source) or (corpus / SOURCE).exists() or not (corpus / SOURCE_LIST).exists():
        return
    place = location_of(config.source)
    if isinstance(place, Path) and place.exists():
        before, now = read_source_list(corpus).sizes, list_row_groups(parquet_files(place), folder_of(place), hashed=False).sizes
        if before != now:
            LOGGER.warning(f"the source {place} has changed since (files: {len(before)} before, {len(now)} now); --update takes that in")


def lacking(config: PrepareConfig, corpus: Corpus) -> list[str]:
    """The vocabularies of `config` that `corpus` has not yet.

    Raises:
        CorpusError: one that it has is broken.
    """
    held = corpus.vocabularies
    for name in set(held) & set(config.vocabularies):
        corpus.with_vocabulary(name)
    return [name for name in config.vocabularies if name not in held]


def finished(config: PrepareConfig, output: Path, update: bool = False) -> Corpus | None:
    """As `existing`, whatever vocabularies the corpus has beside its own; with `update` also of another list of packages."""
    if not output.exists() or (output.is_dir() and not any(output.iterdir())):
        if gatherer_of(config) is None:
            parquet_files(location_of(config.source))
        load_opt_out(config.opt_out)
        load_benchmarks(config.decontaminate)
        return None
    if card_of(output) is None:
        raise CorpusError(f"{output} exists and is no corpus (it has no {CARD}); choose another --output or remove it")
    corpus = Corpus.open(output)
    if corpus.manifest.config_digest != config.digest and corpus.manifest.settings_digest == config.settings_digest:
        if not update:
            raise CorpusError(
                f"{output} holds a corpus of another list of packages; --update takes {config.source} in, or choose another --output"
            )
        return corpus
    if corpus.manifest.config_digest != config.digest:
        raise CorpusError(
            f"{output} holds a corpus of other settings ({corpus.manifest.config_digest[:12]}, these are {config.digest[:12]}); "
            "choose another --output, or remove it to make it anew"
        )
    return corpus


def source_root(config: PrepareConfig, corpus: Path, environment: Environment | None) -> Location:
    """The folder of the parquet to read; what is no parquet is first brought into The Stack v1 there, as it is now.

    What an interrupted call decided of another state of it is forgotten: its books are in the decisions.
    """
    gatherer, root = gatherer_of(config, environment), corpus / SOURCE
    if gatherer is None:
        shutil.rmtree(root, ignore_errors=True)  # an interrupted call found code where parquet is now
        return folder_of(location_of(config.source))
    draft = corpus / f".{SOURCE}"
    gather(config, gatherer, draft)
    if not _same(root / BOOKS, draft / BOOKS):
        _forget(corpus)
    shutil.rmtree(root, ignore_errors=True)
    draft.rename(root)
    return root


def source_files(config: PrepareConfig, corpus: Path, root: Location) -> list[Location]:
    """The parquet files of the source whose folder is `root`."""
    return parquet_files(root if root == corpus / SOURCE else location_of(config.source))


def kept_source(config: PrepareConfig, corpus: Path) -> Location:
    """The folder of the parquet that a finished corpus was made of.

    Raises:
        CorpusError: it is gone.
    """
    kept = corpus / SOURCE
    place = kept if kept.exists() or is_gathered(config.source) else location_of(config.source)
    lost = [path for path in (place, corpus / _DOCUMENTS) if isinstance(path, Path) and not path.exists()]
    if lost:
        raise CorpusError(f"{lost[0]} is gone, of which {corpus} would get more vocabularies; restore it, or prepare into another --output")
    parquet_files(place)
    return folder_of(place)


def settle_source(corpus: Path, root: Location, files: Iterable[Location]) -> SourceList:
    """Write down what the source holds. What an interrupted call made of another state of it is removed, but for the verdicts.

    Returns:
        The row groups of the source, as they are now.
    """
    now, path = list_row_groups(files, root), corpus / SOURCE_LIST
    content = now.model_dump_json(indent=1) + "\n"
    if not path.exists() or path.read_text() != content:
        _forget(corpus)
        write_atomic(path, content)
    UnitStore(corpus / UNITS, now.digests).prune()
    return now


def same_gathering(held: Path, corpus: Path) -> bool:
    """Whether what was gathered in the folder `corpus` is what the finished corpus in the folder `held` was made of."""
    return all(_same(held / name, corpus / name) for name in (SOURCE_LIST, f"{SOURCE}/{BOOKS}"))


def _same(one: Path, other: Path) -> bool:
    return one.is_file() and other.is_file() and one.read_bytes() == other.read_bytes()


def _forget(corpus: Path) -> None:
    """Remove what was decided, learned and tokenised."""
    for name in (_DOCUMENTS, _LEDGER, QUARANTINE, _OWN, _CHARACTERS):
        (corpus / name).unlink(missing_ok=True)
    for name in ("tokens", VOCABULARIES):
        shutil.rmtree(corpus / name, ignore_errors=True)


def documents(config: PrepareConfig, corpus: Path, root: Location, stream: Stream) -> tuple[list[Entry], Ledger]:
    """The documents kept, each with its split, sorted by repository and path; and the books."""
    if not (corpus / _DOCUMENTS).exists():
        _decide(config, corpus, root, stream)
    return load_entries(corpus / _DOCUMENTS)


def _decide(config: PrepareConfig, corpus: Path, root: Location, stream: Stream) -> None:
    """Examine what has no verdict yet; then decide over all, from the verdicts that are stored."""
    entries, ledger = gathered(root) if isinstance(root, Path) and root == corpus / SOURCE else _listed_stack(config, root)
    store = UnitStore(corpus / UNITS, read_source_list(corpus).digests)
    _examine(config, root, entries, store, stream)
    kept = decide(config, entries, store, ledger)
    save_quarantine(corpus / QUARANTINE, ledger.quarantine)
    write_atomic(corpus / _LEDGER, ledger.page().model_dump_json(indent=1) + "\n")
    save_entries(corpus / _DOCUMENTS, kept, ledger)


def read_source_list(corpus: Path) -> SourceList:
    """What `settle_source` wrote.

    Raises:
        CorpusError: the file is damaged.
    """
    path = corpus / SOURCE_LIST
    try:
        return SourceList.model_validate_json(path.read_bytes())
    except (OSError, ValidationError) as error:
        raise damaged(path, error) from None


def vocabulary(config: PrepareConfig, corpus: Path, root: Location, entries: list[Entry]) -> Bpe:
    """The byte-level BPE, and beside it the character vocabulary, learned from one sample of the training split."""
    path = corpus / _OWN
    if not path.exists():
        texts = _sample(config, root, entries)
        Char.train(texts).save(corpus / _CHARACTERS)
        _train_bpe(texts, config.vocab_size).save(path)
    return Bpe.load(path.read_text(encoding="utf-8"))


def named_vocabulary(name: str, config: PrepareConfig, corpus: Path, root: Location, entries: list[Entry]) -> Vocabulary:
    """The vocabulary called `name`, learned from the sample that the own one of the finished `corpus` was learned from."""
    if name == CHAR:
        return load_vocabulary(corpus / _CHARACTERS)
    return _train_bpe(_sample(config, root, entries), bpe_size(name))


def tokens(
    corpus: Path,
    journal: Path,
    root: Location,
    entries: list[Entry],
    vocab_size: int,
    stream: Stream,
    redacted: bool,
    label: str = "tokenise",
) -> Tokenised:
    """Write the shards of every split, in the order of the source, in the vocabulary that lies in the folder `corpus`.

    What an interrupted call wrote of them stays: the file `journal`, which is no part of the corpus, says how far it came.

    Raises:
        CorpusError: the source holds other documents than it did.
    """
    units = units_of(entries)
    work = partial(encode, root=root.absolute(), tokenizer=(corpus / _OWN).absolute(), redacted=redacted)
    of = _digest(corpus / _OWN, entries, redacted)
    with readable_disk_errors(corpus), JournaledShards(corpus, journal, dtype_for(vocab_size), of) as shards:
        units = units[shards.take_up() :]
        if known := shards.documents:
            LOGGER.info(f"{label}: {known:,} of {len(entries):,} documents were tokenised before")
        meter = Meter(label, len(entries), known)
        for parts in parts_of(units, stream(units, work)):
            shards.add(parts)
            for portion in (portion for part in parts for portion in part.figures.languages.values()):
                meter.add(portion.documents, portion.bytes)
        done = shards.finish()
    meter.finish()
    _require_same(root, entries, done.figures)
    return done


def _digest(tokenizer: Path, entries: Iterable[Entry], redacted: bool) -> str:
    """SHA-256 of what decides the ids in the shards, and their order."""
    digest = hashlib.sha256(f"1 {sha256_file(tokenizer)} {redacted}\n".encode())
    for entry in sorted(entries, key=lambda entry: entry.place):
        digest.update(f"{entry.place} {entry.split} {entry.sha256}\n".encode())
    return digest.hexdigest()


def _require_same(root: Location, entries: list[Entry], figures: Mapping[str, Figures]) -> None:
    for split in SPLITS:
        held = sum(portion.bytes for portion in figures[split].languages.values()) if split in figures else 0
        if held != (listed := sum(entry.size for entry in entries if entry.split == split)):
            raise CorpusError(
                f"the source {root} has changed: split {split!r} had {listed:,} bytes and has {held:,}; restore it, "
                "or prepare into another --output"
            )


def bad_rows(corpus: Path) -> int | None:
    """Rows in quarantine; None where an earlier version prepared the corpus."""
    path = corpus / QUARANTINE
    return path.read_bytes().count(b"\n") if path.is_file() else None


def source_size(corpus: Path) -> SourceSize | None:
    """How much the source held; None where an earlier version prepared the corpus."""
    if not (corpus / SOURCE_LIST).is_file():
        return None
    groups = read_source_list(corpus).row_groups
    return SourceSize(
        files=len({group.file for group in groups}),
        row_groups=len(groups),
        rows=sum(group.rows for group in groups),
        bytes=sum(group.bytes for group in groups),
        digest=hashlib.sha256("\n".join(f"{one.file} {one.row_group} {one.sha256}" for one in groups).encode()).hexdigest(),
    )


def _sample(config: PrepareConfig, root: Location, entries: list[Entry]) -> list[str]:
    """The texts that vocabularies are learned from."""
    train = [entry for entry in entries if entry.split == "train"]
    return list(texts_of(sample(train, round(config.vocab_sample_megabytes * 1e6), config.seed), root, config.redact))


def _train_bpe(texts: list[str], size: int) -> Bpe:
    start = time.monotonic()
    trained = Bpe.train(texts, size)
    megabytes = sum(len(text.encode("utf-8", "surrogatepass")) for text in texts) / 1e6
    LOGGER.info(f"vocabulary: {trained.size:,} ids from {megabytes:.1f} MB in {time.monotonic() - start:.0f}s")
    if trained.size < size:
        LOGGER.warning(f"the source is too small for a vocabulary of {size:,} ids: it gives {trained.size:,}")
    return trained


def _listed_stack(config: PrepareConfig, root: Location) -> tuple[list[Entry], Ledger]:
    source = location_of(config.source)
    ledger = Ledger(f"parquet of The Stack's family: {source.name}")
    found = ledger.enter("found", list_entries(parquet_files(source), root))
    nameless = [entry for entry in found if not (entry.repository and entry.path)]
    ledger.quarantine += [BadRow(file=one.file, row_group=one.row_group, row=one.row, reason=_NO_NAME) for one in nameless]
    named = ledger.sift(found, lambda entry: None if entry.repository and entry.path else _NO_NAME)
    return select(agreed(named, config, ledger), config, ledger), ledger


def _examine(config: PrepareConfig, root: Location, entries: list[Entry], store: UnitStore, stream: Stream) -> None:
    """Store a verdict on every entry that has none."""
    missing = store.missing(units_of(entries))
    rows = sum(len(unit.rows) for unit in missing)
    if known := len(entries) - rows:
        LOGGER.info(f"filter: {known:,} of {len(entries):,} documents were examined before")
    meter = Meter("filter", len(entries), known)
    for verdicts in stream(missing, partial(judge, root=root.absolute(), examiner=Examiner.of(config))):
        for one in by_unit(verdicts):
            store.keep(one)
        meter.add(verdicts.num_rows, pc.sum(verdicts["size"]).as_py() or 0)
    meter.finish()
