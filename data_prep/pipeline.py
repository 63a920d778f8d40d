"""`prepare` on Ray Data. Every finished step is on disk under its final name, from where a rerun continues."""

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
from ray.exceptions import OutOfMemoryError, WorkerCrashedError

from codenas.corpus import CARD, Corpus, CorpusManifest, ShardInfo, SplitInfo, Tally
from codenas.corpus.manifest import content_digest, dtype_for
from codenas.corpus.shards import VOCABULARIES
from codenas.errors import CorpusError, ResourceError, SourceTooSmallError, UserError
from codenas.files import atomic_folder, folder_lock, require_free_space, write_atomic
from codenas.log import LOGGER
from codenas.vocab import END_OF_TEXT, Vocabulary
from data_prep import stages
from data_prep.config import PrepareConfig
from data_prep.document import Entry
from data_prep.results import copy_results
from data_prep.rules.split import SPLITS
from data_prep.sources.environment import Environment
from data_prep.sources.file_sources import with_source_defaults
from data_prep.sources.locations import Location
from data_prep.statistics import NOTHING, Statistics
from data_prep.tokens.journal import Tokenised
from data_prep.units import Unit, schedule

_OLD = "old"  # the corpus that is being replaced
_JOURNAL = "tokens.jsonl"  # beside a folder of shards that are being written
_RETRIES = 5  # of a task whose worker died
_ERROR = "error"  # the only column of what a worker returns after a UserError


def prepare(config: PrepareConfig, output: Path, environment: Environment | None = None, update: bool = False) -> Corpus:
    """Prepare the corpus of `config` in the folder `output`, or return it at once if it is finished.

    Killed at any moment and called again it continues, and the result has the same bytes. Ray must be running. Vocabularies that
    a finished corpus lacks are added to it; what is there stays.

    Args:
        environment: the Python whose source is read if the source is "environment"; the running one by default.
        update: if the source has changed, prepare the corpus again, with the vocabularies that it has. Row groups that have not
            changed are not processed again. The result equals that of a new corpus.

    Raises:
        SourceTooSmallError: too little of the source is left.
        CorpusError: the source is missing, empty or damaged, or `output` holds something else.
        ResourceError: Ray is not running, a worker dies repeatedly, or the disk is full.
        RunError: another process is preparing the same folder.
    """
    if not ray.is_initialized():
        raise ResourceError("preparing a corpus needs a running Ray, and none is connected; call ray.init(), or use: codenas prepare")
    config = with_source_defaults(config, output)
    if finished := stages.find_complete_corpus(config, output, update):
        LOGGER.info(f"corpus is ready: {output}")
        return finished
    needed = round(2 * (1 + len(config.vocabularies)) * config.max_megabytes) + 50
    require_free_space(output.parent, needed, "free some space, choose another folder, or use less source (--max-mb)")
    working = output.parent / f".{output.name}.part"
    with folder_lock(working):
        _restore(working, output)
        held = stages.find_finished_corpus(config, output, update)  # another process may have finished it in the meantime
        try:
            if held is None or stages.is_outdated(config, held, update):
                _rebuild(config, working, output, held, environment)
            else:
                _add_vocabularies(config, working, held)
        except SourceTooSmallError:  # these settings will not finish; after any other error the work is resumed
            shutil.rmtree(working)
            raise
        shutil.rmtree(working)
    return Corpus.open(output)


def _rebuild(config: PrepareConfig, working: Path, output: Path, held: Corpus | None, environment: Environment | None) -> None:
    """Replace the corpus `held`, if there is one, by a new one, unless the converted source is the one that it was made of."""
    corpus = _resume(config, working, held)
    root = stages.convert_source(config, corpus, environment)
    stages.record_source(corpus, root, stages.list_source_files(config, corpus, root))
    if held is not None and held.manifest.config_digest == config.digest and stages.is_same_source(held.path, corpus):
        LOGGER.info(f"the source {config.source} has not changed")
        _add_vocabularies(config, working, held)
        return
    _build(config, corpus, root)
    _publish(config if held is None else _with_vocabularies(config, held), working, output)


def _with_vocabularies(config: PrepareConfig, held: Corpus) -> PrepareConfig:
    """The settings with the vocabularies of `held` in addition to those that are asked for."""
    return config.model_copy(update={"vocabularies": tuple(dict.fromkeys((*held.vocabularies, *config.vocabularies)))})


def _publish(config: PrepareConfig, working: Path, output: Path) -> None:
    """Complete the new corpus and move it to `output`, where it replaces the old one."""
    if not output.exists() or not any(output.iterdir()):
        os.replace(working / "corpus", output)
        _add_vocabularies(config, working, Corpus.open(output))
        return
    _add_vocabularies(config, working, Corpus.open(working / "corpus"))
    os.replace(output, working / _OLD)
    os.replace(working / "corpus", output)


def _restore(working: Path, output: Path) -> None:
    """Move back the corpus that a killed update had moved away and not yet replaced."""
    if (working / _OLD).exists() and not output.exists():
        os.replace(working / _OLD, output)
    shutil.rmtree(working / _OLD, ignore_errors=True)


def _resume(config: PrepareConfig, working: Path, held: Corpus | None) -> Path:
    """The folder to build in, with the finished steps of an interrupted run with the same settings and nothing else.

    In an update it also has the results of the finished corpus.
    """
    corpus, stamp = working / "corpus", working / "config"
    if not stamp.exists() or stamp.read_text() != config.digest:
        for other in (corpus, working / VOCABULARIES):
            shutil.rmtree(other, ignore_errors=True)
        write_atomic(stamp, config.digest)
    corpus.mkdir(exist_ok=True)
    for rest in corpus.glob(".*"):  # temporary names of a run that was killed
        shutil.rmtree(rest) if rest.is_dir() else rest.unlink()
    if held is not None and not (corpus / stages.UNITS).exists() and (held.path / stages.UNITS).exists():
        copy_results(held.path / stages.UNITS, corpus / stages.UNITS)
    return corpus


def _build(config: PrepareConfig, corpus: Path, root: Location) -> None:
    stream = partial(_stream, workers=config.workers)
    entries, statistics = stages.select_documents(config, corpus, root, stream)
    vocabulary = stages.train_vocabulary(config, corpus, root, entries)
    tokens = stages.write_tokens(corpus, corpus.with_name(_JOURNAL), root, entries, vocabulary.size, stream, config.redact)
    manifest = _manifest(config, entries, statistics, vocabulary, tokens, corpus)
    write_atomic(corpus / CARD, manifest.model_dump_json(indent=1) + "\n")


def _add_vocabularies(config: PrepareConfig, working: Path, corpus: Corpus) -> None:
    """Tokenise the documents of a finished corpus in every vocabulary that it lacks; each is whole or absent."""
    for name in stages.list_missing_vocabularies(config, corpus):
        root, stream = stages.locate_kept_source(config, corpus.path), partial(_stream, workers=config.workers)
        entries, statistics = stages.select_documents(config, corpus.path, root, stream)
        draft = working / VOCABULARIES / name
        vocabulary = stages.make_named_vocabulary(name, config, corpus.path, root, entries)
        vocabulary.save(draft / "tokenizer.json")
        journal = draft.with_name(f"{name} {_JOURNAL}")
        tokens = stages.write_tokens(draft, journal, root, entries, vocabulary.size, stream, config.redact, f"tokenise {name}")
        manifest = _manifest(config, entries, statistics, vocabulary, tokens, corpus.path)
        write_atomic(draft / CARD, manifest.model_dump_json(indent=1) + "\n")
        with atomic_folder(corpus.path / VOCABULARIES / name) as folder:
            for part in draft.iterdir():
                os.replace(part, folder / part.name)


def _stream(units: list[Unit], work: stages.Work, workers: int | None) -> Iterator[pa.Table]:
    """The results of `work` on the units, in their order, computed by Ray Data a few tasks ahead."""
    if not units:
        return
    with ray.data.DataContext.current(_quiet_and_ordered()):
        # Workers read the files themselves, so that no text passes through the object store.
        tasks = list(schedule(units, workers or _processors()))
        dataset = ray.data.from_arrow([pa.concat_tables(unit.table for unit in task) for task in tasks])
        compute = ray.data.TaskPoolStrategy(workers and min(workers, len(tasks)))
        guarded = partial(_without_user_errors, work=work)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # Ray has no other place for it yet
            # Without a limit Ray Data retries for ever if some rows kill every worker that reads them.
            results = dataset.map_batches(guarded, batch_size=None, batch_format="pyarrow", compute=compute, max_retries=_RETRIES)
        try:
            yield from map(_checked, results.iter_batches(batch_size=None, batch_format="pyarrow"))
        except (WorkerCrashedError, OutOfMemoryError) as error:
            reason = str(error).strip().partition("\n")[0]
            raise ResourceError(
                f"a worker died {_RETRIES + 1} times on the same rows ({reason}); free some memory, or use fewer --workers; "
                "finished work is kept"
            ) from error


def _without_user_errors(units: pa.Table, work: stages.Work) -> pa.Table:
    """The result of `work`, or the message of its error as a table: Ray would raise another type, with a long traceback."""
    try:
        return work(units)
    except UserError as error:
        return pa.table({_ERROR: [str(error)]})


def _checked(answer: pa.Table) -> pa.Table:
    if answer.column_names == [_ERROR]:
        raise CorpusError(answer[_ERROR][0].as_py())
    return answer


def _processors() -> int:
    """The CPUs that the cluster has now; at least one."""
    return max(1, round(ray.cluster_resources().get("CPU", 1)))  # type: ignore[no-untyped-call]


def _quiet_and_ordered() -> ray.data.DataContext:
    logging.getLogger("ray.data").setLevel(logging.WARNING)
    logging.getLogger("ray.data._internal.progress").setLevel(logging.ERROR)  # or it warns that its progress bars are off
    for name in ("exceptions", "_internal.execution.streaming_executor_state"):  # what they print is raised as well
        logging.getLogger(f"ray.data.{name}").setLevel(logging.CRITICAL)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # the context warns about its own defaults
        context = ray.data.DataContext.get_current().copy()
    context.enable_progress_bars = False
    context.execution_options.preserve_order = True
    context.target_max_block_size = None  # the results of a task stay together
    return context


def _manifest(
    config: PrepareConfig, entries: list[Entry], statistics: Statistics, vocabulary: Vocabulary, tokens: Tokenised, corpus: Path
) -> CorpusManifest:
    dtype, stored = dtype_for(vocabulary.size), statistics.to_file()
    splits = {split: _split_info([entry for entry in entries if entry.split == split], tokens.shards[split]) for split in SPLITS}
    return CorpusManifest(
        digest=content_digest(vocabulary.digest, dtype, splits),
        config_digest=config.digest,
        settings_digest=config.settings_digest,
        vocab_digest=vocabulary.digest,
        vocab_size=vocabulary.size,
        dtype=dtype,
        end_of_text=vocabulary.specials[END_OF_TEXT],
        splits=splits,
        source=stored.source,
        stages=stored.stages,
        drops=stored.drops,
        licences=_by_licence(entries),
        redacted=stored.redacted,
        bad_rows=stages.count_bad_rows(corpus),
        held=stages.measure_source(corpus),
        figures=tokens.figures,
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
