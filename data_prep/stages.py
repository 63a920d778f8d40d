"""What the prepare stage does, step by step, on files. How work gets to many processors is the caller's: a `Stream`."""

import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa

from codenas.corpus import Corpus, Redacted, ShardInfo, ShardWriter
from codenas.corpus.manifest import dtype_for
from codenas.errors import CorpusError
from codenas.files import write_atomic
from codenas.log import LOGGER
from codenas.vocab import Bpe, Char, Vocabulary, load_vocabulary
from data_prep.config import CHAR, PrepareConfig, bpe_size
from data_prep.decontaminate import load_benchmarks
from data_prep.dedup import first_copy
from data_prep.document import Entry
from data_prep.environment import Environment
from data_prep.gather import SOURCE, agreed, gather, gathered, gatherer_of, is_gathered
from data_prep.kinship import KIN_SHARE, kin
from data_prep.ledger import Ledger, Match, load_entries, save_entries
from data_prep.locations import Location, folder_of, location_of
from data_prep.meter import Meter
from data_prep.near_dedup import best_copy
from data_prep.opt_out import load_opt_out
from data_prep.redact import KINDS
from data_prep.select import select
from data_prep.sources import list_entries, parquet_files
from data_prep.split import SPLITS, split_by_repository
from data_prep.tokenise import TOKENS, encode, sample, texts_of
from data_prep.units import CONTAMINATED, Examiner, Unit, judge, units_of

Work = Callable[[pa.Table], pa.Table]
# Does some work on each unit and yields the results in the order of the units.
Stream = Callable[[list[Unit], Work], Iterator[pa.Table]]
Verdicts = dict[tuple[str, int, int], dict[str, Any]]  # what `judge` said, by the place of the document

_LEDGER, _DOCUMENTS = "ledger.json", "documents.parquet"
_OWN, _CHARACTERS = "tokenizer.json", "vocab-char.json"


def existing(config: PrepareConfig, output: Path) -> Corpus | None:
    """The corpus of `config` with all its vocabularies, if it is finished in `output`; None if some of it is to be made.

    Raises:
        CorpusError: `output` holds something else, or the source is missing, empty or broken.
    """
    corpus = finished(config, output)
    if corpus is not None and lacking(config, corpus):
        kept_source(config, corpus.path)
        return None
    return corpus


def lacking(config: PrepareConfig, corpus: Corpus) -> list[str]:
    """The vocabularies of `config` that `corpus` has not yet.

    Raises:
        CorpusError: one that it has is broken.
    """
    held = corpus.vocabularies
    for name in set(held) & set(config.vocabularies):
        corpus.with_vocabulary(name)
    return [name for name in config.vocabularies if name not in held]


def finished(config: PrepareConfig, output: Path) -> Corpus | None:
    """As `existing`, whatever vocabularies the corpus has beside its own."""
    if not output.exists() or (output.is_dir() and not any(output.iterdir())):
        if gatherer_of(config) is None:
            parquet_files(location_of(config.source))
        load_opt_out(config.opt_out)
        load_benchmarks(config.decontaminate)
        return None
    if not (output / "manifest.json").is_file():
        raise CorpusError(f"{output} exists and is no corpus (it has no manifest.json); choose another --output or remove it")
    corpus = Corpus.open(output)
    if corpus.manifest.config_digest != config.digest:
        raise CorpusError(
            f"{output} holds a corpus of other settings ({corpus.manifest.config_digest[:12]}, these are {config.digest[:12]}); "
            "choose another --output, or remove it to make it anew"
        )
    return corpus


def source_root(config: PrepareConfig, corpus: Path, environment: Environment | None) -> Location:
    """The folder of the parquet to read; what is no parquet is first brought into The Stack v1 there."""
    gatherer = gatherer_of(config, environment)
    if gatherer is None:
        return folder_of(location_of(config.source))
    root = corpus / SOURCE
    if not root.exists():
        gather(config, gatherer, root)
    return root


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


def documents(config: PrepareConfig, corpus: Path, root: Location, stream: Stream) -> tuple[list[Entry], Ledger]:
    """The documents kept, each with its split, sorted by repository and path; and the books."""
    path = corpus / _DOCUMENTS
    if not path.exists():
        listed, ledger = gathered(root) if root == corpus / SOURCE else _listed_stack(config, root)
        filtered, verdicts = _filter(config, root, listed, ledger, stream)
        sketches = _sketches(filtered, verdicts)
        unique = ledger.enter("unique", ledger.sift(filtered, first_copy()))
        if config.near_dedup.enabled:
            bands = {entry.place: verdicts[entry.place]["bands"] for entry in unique}
            unique = ledger.enter("near-unique", ledger.sift(unique, best_copy(unique, bands)))
        if config.redact:
            ledger.redacted = _redacted(verdicts[entry.place]["redacted"] for entry in unique)
        copies = kin(sketches)
        LOGGER.info(f"split: {len(copies)} of {len(sketches)} repositories share over {KIN_SHARE:.0%} of their lines, and are not held out")
        splits = split_by_repository(unique, {"valid": config.valid_share, "test": config.test_share}, config.seed, copies)
        for entry in unique:
            entry.split = splits[entry.repository]
        write_atomic(corpus / _LEDGER, ledger.page().model_dump_json(indent=1) + "\n")
        save_entries(path, unique, ledger)
    return load_entries(path)


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
    corpus: Path, root: Location, entries: list[Entry], vocab_size: int, stream: Stream, redacted: bool, label: str = "tokenise"
) -> dict[str, tuple[ShardInfo, ...]]:
    """Write the shards of every split, in the order of the source, in the vocabulary that lies in the folder `corpus`.

    Raises:
        CorpusError: the source holds other documents than it did.
    """
    meter, sizes = Meter(label, len(entries)), Counter[str]()
    work = partial(encode, root=root.absolute(), tokenizer=(corpus / _OWN).absolute(), redacted=redacted)
    with ExitStack() as stack:
        writers = {split: stack.enter_context(ShardWriter(corpus, split, dtype_for(vocab_size))) for split in SPLITS}
        for table in stream(units_of(entries), work):
            for split, count, size, ids in zip(*(table[name] for name in TOKENS.names), strict=True):
                writers[split.as_py()].append(ids.values.to_numpy())
                meter.add(count.as_py(), size.as_py())
                sizes[split.as_py()] += size.as_py()
        shards = {split: writer.finish() for split, writer in writers.items()}
    meter.finish()
    for split in SPLITS:
        if sizes[split] != (listed := sum(entry.size for entry in entries if entry.split == split)):
            raise CorpusError(
                f"the source {root} has changed: split {split!r} had {listed:,} bytes and has {sizes[split]:,}; restore it, "
                "or prepare into another --output"
            )
    return shards


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
    named = ledger.sift(found, lambda entry: None if entry.repository and entry.path else "no name")
    return select(agreed(named, config, ledger), config, ledger), ledger


def _filter(config: PrepareConfig, root: Location, entries: list[Entry], ledger: Ledger, stream: Stream) -> tuple[list[Entry], Verdicts]:
    """The entries that pass the filters and hold no benchmark, with their hash and true size; and what is known of each."""
    meter, verdicts = Meter("filter", len(entries)), Verdicts()
    for table in stream(units_of(entries), partial(judge, root=root.absolute(), examiner=Examiner.of(config))):
        for verdict in table.to_pylist():
            verdicts[verdict["file"], verdict["row_group"], verdict["row"]] = verdict
            meter.add(1, verdict["size"] or 0)
    meter.finish()
    for entry in entries:
        verdict = verdicts[entry.place]
        entry.sha256 = verdict["sha256"]
        entry.size = entry.size if verdict["size"] is None else verdict["size"]
        if verdict["reason"] == CONTAMINATED:
            match = Match(repository=entry.repository, path=entry.path, found=verdict["found"], matched=verdict["matched"])
            ledger.benchmarks.append(match)
            LOGGER.info(f"benchmark text in {match.repository}/{match.path}: {match.found}, {match.matched!r}")
    kept = ledger.sift(entries, lambda entry: verdicts[entry.place]["reason"])
    return ledger.enter("filtered", kept), verdicts


def _sketches(entries: Iterable[Entry], verdicts: Verdicts) -> dict[str, list[int]]:
    """The sketch of each repository."""
    sketches: dict[str, list[int]] = defaultdict(list)
    for entry in entries:
        sketches[entry.repository].extend(verdicts[entry.place]["lines"])
    return sketches


def _redacted(counts: Iterable[list[int]]) -> dict[str, Redacted]:
    """Of the numbers that were replaced in each document: how many of each kind, and in how many documents."""
    rows = [(*row, sum(row)) for row in counts]
    columns = zip((*KINDS, "all"), zip(*rows, strict=True), strict=True) if rows else ()
    return {kind: Redacted(values=sum(column), documents=sum(map(bool, column))) for kind, column in columns}
