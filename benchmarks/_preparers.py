"""`python -m benchmarks._preparers NAME SOURCE OUTPUT TOKENIZER`: one contender reads, filters, deduplicates and tokenises a source.

A process of its own for each; it prints a line of JSON: the seconds of the work, on the clock and (but for datatrove) of
processors, and those of starting what it runs on.
All have two workers, the same filters (ours), which no collection of garbage interrupts, and the same vocabulary.
"""

import gc
import json
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import lru_cache
from hashlib import sha256
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import psutil
import pyarrow.parquet as pq

from data_prep.config import Thresholds
from data_prep.document import Document
from data_prep.rules.filters import Filter, first_reason, quality_filters

WORKERS = 2
HELD_OUT = 0.04

Place = tuple[str, int]  # a file and a row group
Ids = npt.NDArray[np.uint16]


def ours(source: Path, output: Path, tokenizer: Path) -> dict[str, float]:
    """`prepare` as it is, but for the vocabulary, which is given, and for near-duplicates and redaction, which no other does."""
    from codenas.vocab import Bpe
    from tune_jobs.cluster.local import local_ray

    started = time.perf_counter()
    with local_ray(cpus=WORKERS):
        from data_prep import pipeline, stages
        from data_prep.config import NearDedup, PrepareConfig
        from data_prep.units import Unit

        def given(config: object, corpus: Path, root: object, entries: object) -> Bpe:
            vocabulary = Bpe.load(tokenizer.read_text(encoding="utf-8"))
            vocabulary.save(corpus / "tokenizer.json")
            return vocabulary

        stages.train_vocabulary = given
        list(pipeline._stream([Unit("", number, [0], [""]) for number in range(2 * WORKERS)], _nothing, WORKERS))  # both have started
        size = max(20 * sum(file.stat().st_size for file in source.rglob("*.parquet")) / 1e6, 1)  # all of it
        config = PrepareConfig(
            source=str(source), max_megabytes=size, max_repository_megabytes=size, redact=False, near_dedup=NearDedup(enabled=False),
            valid_share=HELD_OUT, test_share=HELD_OUT, workers=WORKERS,
        )  # fmt: skip
        ready, before = time.perf_counter(), _cpu_seconds()
        splits = pipeline.prepare(config, output).manifest.splits.values()
        done, cpu = time.perf_counter(), _cpu_seconds() - before
    tokens, kept = sum(split.tokens for split in splits), sum(split.documents for split in splits)
    return {"seconds": done - ready, "cpu_seconds": cpu, "start_seconds": ready - started, "tokens": tokens, "documents": kept}


def plain(source: Path, output: Path, tokenizer: Path) -> dict[str, float]:
    """What one would write by hand: a pool of two processes, pyarrow and tokenizers, two passes, and our format of shards."""
    from codenas.corpus import ShardWriter

    started = time.perf_counter()
    with ProcessPoolExecutor(WORKERS, get_context("spawn")) as pool:
        list(pool.map(_places, [source] * WORKERS))  # both have started and imported
        ready, before = time.perf_counter(), _cpu_seconds()
        places, seen, kept = _places(source), set[bytes](), list[list[int]]()
        for hashes in pool.map(_passed, places):
            kept.append([row for row, found in hashes if not (found in seen or seen.add(found))])  # type: ignore[func-returns-value]
        tokens, splits = 0, ("train", "valid", "test")
        writers = {split: ShardWriter(output, split, "uint16") for split in splits}
        for encoded in pool.map(_encoded, places, kept, [tokenizer] * len(places)):
            for split, ids in encoded.items():
                writers[split].append(ids)
                tokens += len(ids)
        for writer in writers.values():
            writer.finish()
        done, cpu = time.perf_counter(), _cpu_seconds() - before
    documents = sum(map(len, kept))
    return {"seconds": done - ready, "cpu_seconds": cpu, "start_seconds": ready - started, "tokens": tokens, "documents": documents}


def datatrove(source: Path, output: Path, tokenizer: Path) -> dict[str, float]:
    """Its blocks: reader, filter and signatures; duplicates; filter of these and tokenizer."""
    from datatrove.executor import LocalPipelineExecutor
    from datatrove.pipeline.dedup import exact_dedup
    from datatrove.pipeline.filters import LambdaFilter
    from datatrove.pipeline.readers import ParquetReader
    from datatrove.pipeline.tokens import DocumentTokenizer
    from datatrove.pipeline.writers import ParquetWriter

    filters = quality_filters(Thresholds())

    def passes(held: Any) -> bool:
        gc.disable()
        return first_reason(Document("", "", (), "Python", held.text), filters) is None

    def content(held: Any) -> str:
        return str(held.text)

    config = exact_dedup.ExactDedupConfig(content_getter=content)
    place = {name: str(output / name) for name in ("kept", "signatures", "twice", "tokens", "logs")}
    read = ParquetReader(str(source), text_key="content", id_key="hexsha", read_metadata=False)
    first = [
        read, LambdaFilter(passes), ParquetWriter(place["kept"]),
        exact_dedup.ExactDedupSignature(place["signatures"], config, finder_workers=1),
    ]  # fmt: skip
    second = [exact_dedup.ExactFindDedups(place["signatures"], place["twice"], config)]
    third = [
        ParquetReader(place["kept"], read_metadata=False), exact_dedup.ExactDedupFilter(place["twice"], config),
        DocumentTokenizer(place["tokens"], str(tokenizer), eos_token="<|endoftext|>", shuffle_documents=False),
    ]  # fmt: skip
    started = time.perf_counter()
    for number, (steps, tasks) in enumerate(((first, WORKERS), (second, 1), (third, WORKERS))):
        LocalPipelineExecutor(steps, tasks=tasks, workers=tasks, logging_dir=f"{place['logs']}/{number}").run()
    seconds = time.perf_counter() - started
    tokens = sum(path.stat().st_size for path in Path(place["tokens"]).rglob("*.ds")) / 2
    documents = sum(path.stat().st_size for path in Path(place["tokens"]).rglob("*.ds.index")) / 8
    return {"seconds": seconds, "start_seconds": 0.0, "tokens": tokens, "documents": documents}  # its processes are none of ours


def _nothing(units: Any) -> Any:
    quality_filters(Thresholds())
    return units


def _cpu_seconds() -> float:
    """Of this process, of all that live below it, and of those that ended."""
    me = psutil.Process()
    own = me.cpu_times()
    below = [process.cpu_times() for process in me.children(recursive=True)]
    return own.children_user + own.children_system + sum(one.user + one.system for one in (own, *below))


def _places(source: Path) -> list[tuple[Path, int]]:
    files = sorted(source.rglob("*.parquet"))
    return [(file, group) for file in files for group in range(pq.ParquetFile(file).num_row_groups)]


def _texts(file: Path, group: int) -> Iterator[tuple[str, str]]:
    table = pq.ParquetFile(file).read_row_group(group, columns=["max_stars_repo_name", "content"])
    for name, text in zip(*(table[column].to_pylist() for column in table.column_names), strict=True):
        yield name, text.replace("\r\n", "\n")


def _passed(place: tuple[Path, int]) -> list[tuple[int, bytes]]:
    """The rows of a row group that pass the filters, with the hash of their text."""
    gc.disable()
    return [
        (row, sha256(text.encode()).digest())
        for row, (_, text) in enumerate(_texts(*place))
        if first_reason(Document("", "", (), "Python", text), _filters()) is None
    ]


def _encoded(place: tuple[Path, int], rows: list[int], path: Path) -> dict[str, Ids]:
    """The ids of some rows of a row group, by split."""
    tokenizer, end = _tokenizer(path)
    texts = list(_texts(*place))
    parts: dict[str, list[Ids]] = {}
    for row, encoding in zip(rows, tokenizer.encode_batch_fast([texts[row][1] for row in rows], add_special_tokens=False), strict=True):
        share = int.from_bytes(sha256(texts[row][0].encode()).digest()[:4], "big") / (1 << 32)
        split = "valid" if share < HELD_OUT else "test" if share < 2 * HELD_OUT else "train"
        parts.setdefault(split, []).append(np.array([*encoding.ids, end], np.uint16))
    return {split: np.concatenate(held) for split, held in parts.items()}


@lru_cache
def _filters() -> tuple[Filter, ...]:
    return quality_filters(Thresholds())


@lru_cache
def _tokenizer(path: Path) -> tuple[Any, int]:
    import os

    from tokenizers import Tokenizer

    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    tokenizer: Any = Tokenizer.from_file(str(path))
    tokenizer.encode_special_tokens = True
    return tokenizer, tokenizer.token_to_id("<|endoftext|>")


CONTENDERS: dict[str, Callable[[Path, Path, Path], dict[str, float]]] = {"ours": ours, "plain": plain, "datatrove": datatrove}

if __name__ == "__main__":
    print(json.dumps(CONTENDERS[sys.argv[1]](*map(Path, sys.argv[2:5]))))
