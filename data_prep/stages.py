"""The steps of `prepare`, on files. How work is distributed over processors is up to the caller, who passes a `Stream`."""

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
from data_prep.dedup_and_split import dedup_and_split
from data_prep.document import Entry
from data_prep.entry_table import load_entries, save_entries
from data_prep.process import DocumentProcessor, by_row_group, process
from data_prep.progress import ThroughputProgress
from data_prep.results import ResultStore
from data_prep.rules.decontaminate import load_benchmarks
from data_prep.rules.opt_out import load_opt_out
from data_prep.rules.select import select
from data_prep.rules.split import SPLITS
from data_prep.sources.code_folder import CodeFolder
from data_prep.sources.environment import Environment
from data_prep.sources.file_sources import (
    SOURCE,
    STATISTICS,
    convert,
    eligible,
    file_source_of,
    is_file_source,
    load_converted,
    with_source_defaults,
)
from data_prep.sources.locations import Location, folder_of, location_of
from data_prep.sources.parquet import list_entries, parquet_files
from data_prep.sources.row_groups import SourceList, list_row_groups, same_row_groups
from data_prep.statistics import BadRow, Statistics, damaged, save_quarantine
from data_prep.tokens.journal import JournaledShards, Tokenised, parts_of
from data_prep.tokens.tokenise import encode, sample, texts_of
from data_prep.units import Unit, units_of

Work = Callable[[pa.Table], pa.Table]
# Runs work on units, several of them at a time, and yields the results in the order of the units.
Stream = Callable[[list[Unit], Work], Iterator[pa.Table]]

SOURCE_LIST, UNITS, QUARANTINE = "source.json", "units", "quarantine.jsonl"
_STATISTICS, _DOCUMENTS = "ledger.json", "documents.parquet"
_NO_NAME = "no name"
_OWN, _CHARACTERS = "tokenizer.json", "vocab-char.json"


def find_complete_corpus(config: PrepareConfig, output: Path, update: bool = False) -> Corpus | None:
    """The corpus of `config` with all its vocabularies, if it is finished in `output`; None if something is missing.

    With `update` it also counts as missing if its source has changed.

    Raises:
        CorpusError: `output` holds something else, or the source is missing, empty or broken.
    """
    config = with_source_defaults(config, output)
    corpus = find_finished_corpus(config, output, update)
    if corpus is not None and is_outdated(config, corpus, update):
        return None
    if corpus is not None and list_missing_vocabularies(config, corpus):
        locate_kept_source(config, corpus.path)
        return None
    return corpus


def is_outdated(config: PrepareConfig, corpus: Corpus, update: bool) -> bool:
    """Whether `corpus` has to be rebuilt because its source has changed; without `update` it stays, with a warning.

    Raises:
        CorpusError: an update is requested, and the source no longer exists.
    """
    if not update:
        _warn_of_changes(config, corpus.path)
        return False
    if file_source_of(config):
        return True  # converting it again will show whether anything has changed
    place = location_of(config.source)
    files = parquet_files(place)
    return not (corpus.path / SOURCE_LIST).exists() or not same_row_groups(read_source_list(corpus.path), files, folder_of(place))


def _warn_of_changes(config: PrepareConfig, corpus: Path) -> None:
    """Warn if parquet on this machine has changed. Remote sources and folders of code are not checked: that would take too long."""
    if is_file_source(config.source) or (corpus / SOURCE).exists() or not (corpus / SOURCE_LIST).exists():
        return
    place = location_of(config.source)
    if isinstance(place, Path) and place.exists():
        before, now = read_source_list(corpus).sizes, list_row_groups(parquet_files(place), folder_of(place), hashed=False).sizes
        if before != now:
            LOGGER.warning(
                f"the source {place} has changed since (files: {len(before)} before, {len(now)} now); --update includes the changes"
            )


def list_missing_vocabularies(config: PrepareConfig, corpus: Corpus) -> list[str]:
    """The vocabularies of `config` that `corpus` does not have yet.

    Raises:
        CorpusError: one that it has is damaged.
    """
    held = corpus.vocabularies
    for name in set(held) & set(config.vocabularies):
        corpus.with_vocabulary(name)
    return [name for name in config.vocabularies if name not in held]


def find_finished_corpus(config: PrepareConfig, output: Path, update: bool = False) -> Corpus | None:
    """As `find_complete_corpus`, whatever more vocabularies the corpus has; with `update` also a corpus of another list of packages."""
    if not output.exists() or (output.is_dir() and not any(output.iterdir())):
        if file_source_of(config) is None:
            parquet_files(location_of(config.source))
        load_opt_out(config.opt_out)
        load_benchmarks(config.decontaminate)
        return None
    if card_of(output) is None:
        raise CorpusError(f"{output} exists and is not a corpus (it has no {CARD}); choose another --output or remove it")
    corpus = Corpus.open(output)
    if corpus.manifest.config_digest != config.digest and corpus.manifest.settings_digest == config.settings_digest:
        if not update:
            raise CorpusError(
                f"{output} holds a corpus of another list of packages; use --update for {config.source}, or choose another --output"
            )
        return corpus
    if corpus.manifest.config_digest != config.digest:
        raise CorpusError(
            f"{output} holds a corpus of other settings ({corpus.manifest.config_digest[:12]}, these are {config.digest[:12]}); "
            "choose another --output, or remove it to prepare it again"
        )
    return corpus


def convert_source(config: PrepareConfig, corpus: Path, environment: Environment | None) -> Location:
    """The folder of the parquet to read. A source of files is first converted to parquet there, in its present state.

    If an interrupted run had converted another state of it, what it derived from that is removed.
    """
    files, root = file_source_of(config, environment), corpus / SOURCE
    if files is None:
        shutil.rmtree(root, ignore_errors=True)  # an interrupted run found code where parquet is now
        return folder_of(location_of(config.source))
    draft = corpus / f".{SOURCE}"
    convert(config, files, draft)
    if not _same(root / STATISTICS, draft / STATISTICS):
        _remove_derived(corpus)
    shutil.rmtree(root, ignore_errors=True)
    draft.rename(root)
    return root


def list_source_files(config: PrepareConfig, corpus: Path, root: Location) -> list[Location]:
    """The parquet files of the source whose folder is `root`."""
    return parquet_files(root if root == corpus / SOURCE else location_of(config.source))


def locate_kept_source(config: PrepareConfig, corpus: Path) -> Location:
    """The folder of the parquet that a finished corpus was made of.

    Raises:
        CorpusError: it is missing.
    """
    kept = corpus / SOURCE
    place = kept if kept.exists() or is_file_source(config.source) else location_of(config.source)
    missing = [path for path in (place, corpus / _DOCUMENTS) if isinstance(path, Path) and not path.exists()]
    if missing:
        raise CorpusError(f"{missing[0]} is missing, and more vocabularies of {corpus} need it; restore it, or choose another --output")
    parquet_files(place)
    return folder_of(place)


def record_source(corpus: Path, root: Location, files: Iterable[Location]) -> SourceList:
    """Store the list of row groups. What an interrupted run derived from another state of the source is removed.

    Returns:
        The row groups of the source, as they are now.
    """
    now, path = list_row_groups(files, root), corpus / SOURCE_LIST
    content = now.model_dump_json(indent=1) + "\n"
    if not path.exists() or path.read_text() != content:
        _remove_derived(corpus)
        write_atomic(path, content)
    ResultStore(corpus / UNITS, now.digests).prune()
    return now


def is_same_source(held: Path, corpus: Path) -> bool:
    """Whether the files converted in the folder `corpus` are those that the finished corpus in the folder `held` was made of."""
    return all(_same(held / name, corpus / name) for name in (SOURCE_LIST, f"{SOURCE}/{STATISTICS}"))


def _same(one: Path, other: Path) -> bool:
    return one.is_file() and other.is_file() and one.read_bytes() == other.read_bytes()


def _remove_derived(corpus: Path) -> None:
    """Remove documents, vocabularies and tokens; the results of processing stay."""
    for name in (_DOCUMENTS, _STATISTICS, QUARANTINE, _OWN, _CHARACTERS):
        (corpus / name).unlink(missing_ok=True)
    for name in ("tokens", VOCABULARIES):
        shutil.rmtree(corpus / name, ignore_errors=True)


def select_documents(config: PrepareConfig, corpus: Path, root: Location, stream: Stream) -> tuple[list[Entry], Statistics]:
    """The documents kept, each with its split, sorted by repository and path; and the statistics."""
    if not (corpus / _DOCUMENTS).exists():
        _process_and_select(config, corpus, root, stream)
    return load_entries(corpus / _DOCUMENTS)


def _process_and_select(config: PrepareConfig, corpus: Path, root: Location, stream: Stream) -> None:
    """Process what has no stored result yet; then deduplicate and split all documents."""
    entries, statistics = load_converted(root) if isinstance(root, Path) and root == corpus / SOURCE else _list_parquet(config, root)
    store = ResultStore(corpus / UNITS, read_source_list(corpus).digests)
    _process_missing(config, root, entries, store, stream)
    own_code = root == corpus / SOURCE and (corpus / SOURCE / f"{CodeFolder.name}.parquet").exists()
    kept = dedup_and_split(config, entries, store, statistics, own_code)
    save_quarantine(corpus / QUARANTINE, statistics.quarantine)
    write_atomic(corpus / _STATISTICS, statistics.to_file().model_dump_json(indent=1) + "\n")
    save_entries(corpus / _DOCUMENTS, kept, statistics)


def read_source_list(corpus: Path) -> SourceList:
    """What `record_source` wrote.

    Raises:
        CorpusError: the file is damaged.
    """
    path = corpus / SOURCE_LIST
    try:
        return SourceList.model_validate_json(path.read_bytes())
    except (OSError, ValidationError) as error:
        raise damaged(path, error) from None


def train_vocabulary(config: PrepareConfig, corpus: Path, root: Location, entries: list[Entry]) -> Bpe:
    """The byte-level BPE, and beside it the character vocabulary, trained on one sample of the training split."""
    path = corpus / _OWN
    if not path.exists():
        texts = _sample(config, root, entries)
        Char.train(texts).save(corpus / _CHARACTERS)
        _train_bpe(texts, config.vocab_size).save(path)
    return Bpe.load(path.read_text(encoding="utf-8"))


def make_named_vocabulary(name: str, config: PrepareConfig, corpus: Path, root: Location, entries: list[Entry]) -> Vocabulary:
    """The vocabulary called `name`, trained on the same sample as the default vocabulary of the finished `corpus`."""
    if name == CHAR:
        return load_vocabulary(corpus / _CHARACTERS)
    return _train_bpe(_sample(config, root, entries), bpe_size(name))


def write_tokens(
    corpus: Path,
    journal: Path,
    root: Location,
    entries: list[Entry],
    vocab_size: int,
    stream: Stream,
    redacted: bool,
    label: str = "tokenise",
) -> Tokenised:
    """Write the shards of every split, in the order of the source, in the vocabulary of the folder `corpus`.

    An interrupted run is continued: the file `journal`, which is not part of the corpus, says how far it came.

    Raises:
        CorpusError: the source has changed.
    """
    units = units_of(entries)
    work = partial(encode, root=root.absolute(), tokenizer=(corpus / _OWN).absolute(), redacted=redacted)
    of = _digest(corpus / _OWN, entries, redacted)
    with readable_disk_errors(corpus), JournaledShards(corpus, journal, dtype_for(vocab_size), of) as shards:
        units = units[shards.resume() :]
        if known := shards.documents:
            LOGGER.info(f"{label}: {known:,} of {len(entries):,} documents were already tokenised")
        progress = ThroughputProgress(label, len(entries), known)
        for parts in parts_of(units, stream(units, work)):
            shards.add(parts)
            for portion in (portion for part in parts for portion in part.figures.languages.values()):
                progress.add(portion.documents, portion.bytes)
        done = shards.finish()
    progress.finish()
    _require_same(root, entries, done.figures)
    return done


def _digest(tokenizer: Path, entries: Iterable[Entry], redacted: bool) -> str:
    """SHA-256 of everything that determines the ids in the shards, and their order."""
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
                "or choose another --output"
            )


def count_bad_rows(corpus: Path) -> int | None:
    """The number of rows in quarantine; None if an earlier version prepared the corpus."""
    path = corpus / QUARANTINE
    return path.read_bytes().count(b"\n") if path.is_file() else None


def measure_source(corpus: Path) -> SourceSize | None:
    """The size of the source; None if an earlier version prepared the corpus."""
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
    """The texts that vocabularies are trained on."""
    train = [entry for entry in entries if entry.split == "train"]
    return list(texts_of(sample(train, round(config.vocab_sample_megabytes * 1e6), config.seed), root, config.redact))


def _train_bpe(texts: list[str], size: int) -> Bpe:
    start = time.monotonic()
    trained = Bpe.train(texts, size)
    megabytes = sum(len(text.encode("utf-8", "surrogatepass")) for text in texts) / 1e6
    LOGGER.info(f"vocabulary: {trained.size:,} ids from {megabytes:.1f} MB in {time.monotonic() - start:.0f}s")
    if trained.size < size:
        LOGGER.warning(f"the source is too small for a vocabulary of {size:,} ids: it has {trained.size:,}")
    return trained


def _list_parquet(config: PrepareConfig, root: Location) -> tuple[list[Entry], Statistics]:
    source = location_of(config.source)
    statistics = Statistics(f"parquet of The Stack's family: {source.name}")
    found = statistics.record("found", list_entries(parquet_files(source), root))
    nameless = [entry for entry in found if not (entry.repository and entry.path)]
    statistics.quarantine += [BadRow(file=one.file, row_group=one.row_group, row=one.row, reason=_NO_NAME) for one in nameless]
    named = statistics.filter(found, lambda entry: None if entry.repository and entry.path else _NO_NAME)
    return select(eligible(named, config, statistics), config, statistics), statistics


def _process_missing(config: PrepareConfig, root: Location, entries: list[Entry], store: ResultStore, stream: Stream) -> None:
    """Store a result for every entry that has none."""
    missing = store.missing(units_of(entries))
    rows = sum(len(unit.rows) for unit in missing)
    if known := len(entries) - rows:
        LOGGER.info(f"filter: {known:,} of {len(entries):,} documents were already processed")
    progress = ThroughputProgress("filter", len(entries), known)
    for results in stream(missing, partial(process, root=root.absolute(), processor=DocumentProcessor.of(config))):
        for one in by_row_group(results):
            store.add(one)
        progress.add(results.num_rows, pc.sum(results["size"]).as_py() or 0)
    progress.finish()
