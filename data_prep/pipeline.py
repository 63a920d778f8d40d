"""The prepare stage on Ray Data. A finished piece is on disk under its final name: a rerun goes on from there."""

import logging
import os
import shutil
import warnings
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path

import pyarrow as pa
import ray
import ray.data

from codenas.corpus import Corpus, CorpusManifest, ShardInfo, SplitInfo, Tally
from codenas.corpus.manifest import content_digest, dtype_for
from codenas.corpus.shards import VOCABULARIES
from codenas.errors import ResourceError
from codenas.files import atomic_folder, folder_lock, require_free_space, write_atomic
from codenas.log import LOGGER
from codenas.vocab import END_OF_TEXT, Vocabulary
from data_prep import stages
from data_prep.config import PrepareConfig
from data_prep.document import Entry
from data_prep.environment import Environment
from data_prep.ledger import NOTHING, Ledger
from data_prep.split import SPLITS
from data_prep.units import Unit


def prepare(config: PrepareConfig, output: Path, environment: Environment | None = None) -> Corpus:
    """Make the corpus of `config` in the folder `output`, or return it at once where it is finished.

    Killed at any moment and called again it goes on, and ends with the same bytes. Ray must be running. Vocabularies that a
    finished corpus lacks are added to it; what is there stays.

    Args:
        environment: the Python whose source is read where the source is "environment"; this one by default.

    Raises:
        CorpusError: the source is missing, empty, broken or too small, or `output` holds something else.
        ResourceError: Ray is not running, or the disk is full.
        RunError: another process prepares the same folder.
    """
    if not ray.is_initialized():
        raise ResourceError("preparing a corpus needs a running Ray, and none is connected; call ray.init(), or use: codenas prepare")
    if finished := stages.existing(config, output):
        LOGGER.info(f"corpus is ready: {output}")
        return finished
    require_free_space(output.parent, round(2 * (1 + len(config.vocabularies)) * config.max_megabytes) + 50)
    working = output.parent / f".{output.name}.part"
    with folder_lock(working):
        if not stages.finished(config, output):  # another process may have had the lock until now
            _build(config, _resume(config, working), environment)
            os.replace(working / "corpus", output)
        _add_vocabularies(config, Corpus.open(output))
        shutil.rmtree(working)
    return Corpus.open(output)


def _resume(config: PrepareConfig, working: Path) -> Path:
    """The folder to build in, with the finished pieces of an interrupted call with the same settings, and nothing else."""
    corpus, stamp = working / "corpus", working / "config"
    if not stamp.exists() or stamp.read_text() != config.digest:
        shutil.rmtree(corpus, ignore_errors=True)
        write_atomic(stamp, config.digest)
    corpus.mkdir(exist_ok=True)
    for rest in corpus.glob(".*"):  # temporary names of a call that was killed
        shutil.rmtree(rest) if rest.is_dir() else rest.unlink()
    shutil.rmtree(corpus / "tokens", ignore_errors=True)
    return corpus


def _build(config: PrepareConfig, corpus: Path, environment: Environment | None) -> None:
    stream = partial(_stream, workers=config.workers)
    root = stages.source_root(config, corpus, environment)
    entries, ledger = stages.documents(config, corpus, root, stream)
    vocabulary = stages.vocabulary(config, corpus, root, entries)
    shards = stages.tokens(corpus, root, entries, vocabulary.size, stream, config.redact)
    manifest = _manifest(config, entries, ledger, vocabulary, shards)
    write_atomic(corpus / "manifest.json", manifest.model_dump_json(indent=1) + "\n")


def _add_vocabularies(config: PrepareConfig, corpus: Corpus) -> None:
    """Store the documents of a finished corpus once more in every vocabulary that it lacks; each is whole or absent."""
    for name in stages.lacking(config, corpus):
        root, stream = stages.kept_source(config, corpus.path), partial(_stream, workers=config.workers)
        entries, ledger = stages.documents(config, corpus.path, root, stream)
        with atomic_folder(corpus.path / VOCABULARIES / name) as folder:
            vocabulary = stages.named_vocabulary(name, config, corpus.path, root, entries)
            vocabulary.save(folder / "tokenizer.json")
            shards = stages.tokens(folder, root, entries, vocabulary.size, stream, config.redact, f"tokenise {name}")
            manifest = _manifest(config, entries, ledger, vocabulary, shards)
            write_atomic(folder / "manifest.json", manifest.model_dump_json(indent=1) + "\n")


def _stream(units: list[Unit], work: stages.Work, workers: int | None) -> Iterator[pa.Table]:
    """The results of `work` on each unit, in the order of the units, computed by Ray Data a few units ahead."""
    if not units:
        return
    with ray.data.DataContext.current(_quiet_and_ordered()):
        # One unit a block: workers read for themselves, so that no text passes through the object store.
        dataset = ray.data.from_arrow([unit.table for unit in units])
        results = dataset.map_batches(work, batch_size=None, batch_format="pyarrow", compute=ray.data.TaskPoolStrategy(workers))
        yield from results.iter_batches(batch_size=None, batch_format="pyarrow")


def _quiet_and_ordered() -> ray.data.DataContext:
    logging.getLogger("ray.data").setLevel(logging.WARNING)
    logging.getLogger("ray.data._internal.progress").setLevel(logging.ERROR)  # or it warns that its bars are off
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # the context warns of its own defaults while it is made
        context = ray.data.DataContext.get_current().copy()
    context.enable_progress_bars = False
    context.execution_options.preserve_order = True
    return context


def _manifest(
    config: PrepareConfig, entries: list[Entry], ledger: Ledger, vocabulary: Vocabulary, shards: dict[str, tuple[ShardInfo, ...]]
) -> CorpusManifest:
    dtype, page = dtype_for(vocabulary.size), ledger.page()
    splits = {split: _split_info([entry for entry in entries if entry.split == split], shards[split]) for split in SPLITS}
    return CorpusManifest(
        digest=content_digest(vocabulary.digest, dtype, splits),
        config_digest=config.digest,
        vocab_digest=vocabulary.digest,
        vocab_size=vocabulary.size,
        dtype=dtype,
        end_of_text=vocabulary.specials[END_OF_TEXT],
        splits=splits,
        source=page.source,
        stages=page.stages,
        drops=page.drops,
        licences=_by_licence(entries),
        redacted=page.redacted,
    )


def _split_info(entries: list[Entry], shards: tuple[ShardInfo, ...]) -> SplitInfo:
    return SplitInfo(
        tokens=sum(shard.tokens for shard in shards),
        bytes=sum(entry.size for entry in entries),
        documents=len(entries),
        repositories=len({entry.repository for entry in entries}),
        shards=shards,
    )


def _by_licence(entries: Iterable[Entry]) -> dict[str, Tally]:
    held: dict[str, Tally] = {}
    for entry in entries:
        name = " AND ".join(entry.licences)
        held[name] = held.get(name, NOTHING) + Tally(documents=1, bytes=entry.size)
    return dict(sorted(held.items()))
