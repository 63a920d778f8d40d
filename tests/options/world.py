"""A small world of what commands are given: runs in every state, corpora, sources, tables, and what is broken in one way or another."""

import contextlib
import json
import os
import shutil
import stat
import subprocess
from pathlib import Path

from codenas.arch import SearchSpace
from codenas.arch.cost import parameters
from codenas.experiment.run import Run
from codenas.measure.latency_model import Calibration, Point
from codenas.search.replay.table import write_table
from tests.cli.commands import shown
from tests.data_prep.example_documents import write_source
from tests.fakes import SMALL_SEARCH, VOCAB_SIZE, python_files, tiny_arch, tiny_corpus
from tests.search.tables import synthetic_rows

JOB = f"""
{SMALL_SEARCH}
[prepare]
source = "source"
vocab_size = 300
valid_share = 0.1
test_share = 0.1
[train]
steps = 6
[evaluate]
tokens = 256
prompts = 2
prompt_tokens = 8
completion_tokens = 8
latency_tokens = 4
[record]
count = 2
scored = [2]
decayed = [2]
sweeps = 1
score_tokens = 128
latency_tokens = 4
[record.space]
base = {{ d_model = 16, n_layers = 1, context_len = 32 }}
choices = {{ d_model = [16, 32], norm = ["rmsnorm", "layernorm"] }}
"""


def build_world(world: Path) -> Path:
    """Make everything once; each case gets a copy."""
    _write_runs(world)
    _write_files(world)
    _write_broken(world)
    return world


def copied(world: Path, folder: Path) -> frozenset[tuple[str, int, int]]:
    """Make a copy of `world` that a case may spoil, where there is none; with a /dev/null of its own, where this user may make devices."""
    if not folder.exists():
        shutil.copytree(world, folder, symlinks=True)
        with contextlib.suppress(PermissionError):
            os.mknod(folder / "null", stat.S_IFCHR | 0o666, os.makedev(1, 3))
    return state_of(folder)


def state_of(folder: Path) -> frozenset[tuple[str, int, int]]:
    """What can tell that something in `folder` was changed: every path, with the time and the number of its file."""
    found = ((path, path.lstat()) for path in folder.rglob("*"))
    return frozenset((str(path), state.st_mtime_ns, state.st_ino) for path, state in found)


def names(world: Path) -> list[str]:
    """What lies in it, as options name it."""
    inner = ("run/model", "run/search", "run/model/manifest.json", "corpus/corpus.json", "run/search/trials.jsonl")
    return sorted([*(each.name for each in world.iterdir()), *inner, "null"])


def _write_runs(world: Path) -> None:
    """Finished runs, one whose search has begun, one whose winner is not trained."""
    corpus, job = tiny_corpus(world / "corpus", vocabularies=["char"]).path, world / "job.toml"
    job.write_text(JOB)
    for name in ("run", "other"):
        shown("search", "--no-ray", "--corpus", corpus, "--run", world / name, "--job", job)
    shutil.copytree(world / "other", world / "begun")
    begun = Run(world / "begun").search
    (begun / "result.json").unlink()
    lines = (begun / "trials.jsonl").read_text().splitlines(keepends=True)
    (begun / "trials.jsonl").write_text("".join(lines[: len(lines) // 2]))
    shown("train", "--run", world / "run", "--job", job)
    shown("evaluate", "--run", world / "run", "--job", job)


def _write_files(world: Path) -> None:
    write_source(world / "source")
    (world / "code").mkdir()
    for number, text in zip(range(20), python_files(0, "code"), strict=False):
        (world / f"code/module_{number}.py").write_text(text)
    for suffix in ("parquet", "jsonl", "npz"):
        write_table(world / f"table.{suffix}", synthetic_rows())
    choices = {"d_model": (16, 32), "n_layers": (1, 2, 3), "norm": ("layernorm", "rmsnorm")}
    (world / "space.json").write_text(SearchSpace(base=tiny_arch(), choices=choices).model_dump_json())
    (world / "arch.json").write_text(tiny_arch().model_dump_json())
    archs = [tiny_arch(d_model=width) for width in range(16, 256, 16)]
    points = [Point(arch=arch, vocab_size=VOCAB_SIZE, p50_ms=parameters(arch, VOCAB_SIZE) / 1e6, p50_uncertainty_ms=0) for arch in archs]
    Calibration.fit("box", 1, points).save(world / "device.json")
    (world / "weights.json").write_text('{"Python": 1}')
    (world / "runtime_env.json").write_text("{}")
    (world / "key").write_text("secret\n")
    (world / "optout.txt").write_text("owner/project-03\n")
    (world / "benchmark.jsonl").write_text(json.dumps({"task_id": 11, "text": "Do it.", "code": "x"}) + "\n")


def _write_broken(world: Path) -> None:
    for name, content in {
        "empty": b"", "blanks": b" \n\t\n", "bytes": bytes(range(256)) * 16, "broken.json": b'{"d_model": ', "broken.toml": b"[search\n",
        "list.json": b"[1, NaN]", "numbers.json": b'{"Python": NaN, "Go": 1e999}', "bom.toml": b"\xef\xbb\xbf[search]\nseed = 1\n",
        "odd.toml": b'[search]\nseed = -1\nbudget = { candidates = 0, rungs = [] }\n', "typo.toml": b"[serach]\n",
        "half.parquet": (world / "table.parquet").read_bytes()[:200], "half.npz": (world / "table.npz").read_bytes()[:200],
        "torn.jsonl": (world / "table.jsonl").read_bytes()[:500], "text.parquet": b"no parquet\n", "long line": b"x" * 100_000,
    }.items():  # fmt: skip
        (world / name).write_bytes(content)
    (world / "folder").mkdir()
    (world / "loop").symlink_to("loop")
    (world / "dangling").symlink_to("nowhere")
    (world / "linked").symlink_to("run")
    for name, spoilt in (("halved", "model.safetensors"), ("unmanifest", "manifest.json")):
        shutil.copytree(world / "run/model", world / name)
        data = (world / name / spoilt).read_bytes()
        (world / name / spoilt).write_bytes(data[: len(data) // 2])
    shutil.copytree(world / "corpus", world / "spoilt", ignore=shutil.ignore_patterns("vocabularies"))
    (world / "spoilt/corpus.json").write_text("{}")
    subprocess.run(["git", "init", "--quiet", str(world / "code")], check=True)
