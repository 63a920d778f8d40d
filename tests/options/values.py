"""What an option is given: ordinary values by its name, odd ones by its type."""

from collections.abc import Mapping, Sequence
from pathlib import PurePath
from random import Random

from tests.options.declared import Command, Option

HUGE = "99999999999999999999"

ODD: Mapping[type, Sequence[str]] = {
    int: ("0", "1", "-1", "2", "7", "65536", "2147483648", HUGE, "-" + HUGE, "1.5", "1e3", "nan", "", " ", "x", "²", "٣", "1_0", "0x10"),
    float: ("0", "-0.0", "-1", "1", "0.5", "1e-310", "1e-9", "1e9", "1e308", "1e999", "nan", "inf", "-inf", "", "x", "²", "1,5", HUGE),
    str: (
        "", " ", "x", ",", "=", "a=b", "=,=", "x,y", "-", "--", "0", "-1", "nan", "nan=nan", "ü∑😀", "\udcff", "a\nb", "\u2028", "%s", "{}",
        "[red]", "null", "x" * 5_000, "file://", "file:///dev/null/x", "file://[", "http://", "ftp://x/y", "s3://", "127.0.0.1:1",
        "http://127.0.0.1:1", "ray://127.0.0.1:1", "127.0.0.1:nan", "127.0.0.1:99999", "http://[::1", "::1", "999.1.1.1",
    ),
    PurePath: (
        "", ".", "absent", "absent/below/it", "a\nb", "ünï ∑😀", "[red].json", "x" * 300, "/".join(["x" * 200] * 30),
        "empty/below", "/proc/absent", "/dev/null/below", "-", "~", "x.png", "x.npz", "x.parquet", "x.jsonl", "x.toml", "%s", "http://127.0.0.1:1/x",
    ),
}  # fmt: skip

# By the name of the parameter, or of command and parameter. What is a file or folder is one of the world (tests/options/world.py).
ORDINARY: Mapping[str, Sequence[str]] = {
    "api_key_file": ("key",),
    "against": ("torch", "llama.cpp"),
    "arch": ("arch.json", "small:7"),
    "bench-decode model": ("arch.json", "small:7", "run/model"),
    "bench-decode prompt": ("8", "32"),
    "candidates": ("2", "6"),
    "capacity": ("params",),
    "checkpoint": ("run/model",),
    "choices": ("choice.width,choice.depth",),
    "corpus": ("corpus",),
    "trained": ("bits_per_byte", "bits_per_byte@300"),
    "count": ("8",),
    "cpus": ("1",),
    "decontaminate": ("benchmark.jsonl",),
    "details_file": ("details.json",),
    "device": ("cpu", "cuda", "cuda:99", "mps", "cpu:1"),
    "every": ("0.1",),
    "figures": ("figures.json",),
    "free": ("params,latency_ms",),
    "host": ("127.0.0.1", "::1", "localhost"),
    "job": ("job.toml",),
    "language": ("python", "python,go", "all"),
    "languages": ("weights.json",),
    "least": ("1",),
    "max_mb": ("0.05", "5", "50"),
    "max_ms": ("0.001", "10"),
    "maximize": ("params", "bits_per_byte"),
    "mirror": ("file://WORLD/mirror",),
    "model_name": ("tiny",),
    "name": ("mine",),
    "noise_mean": ("1e-5", "0"),
    "on": ("device.json",),
    "opt_out": ("optout.txt",),
    "output": ("made", "made/deeper", "made.json"),
    "output_file": ("made.json",),
    "picture": ("made.png",),
    "promote": ("2", "3,2"),
    "prompt": ("def f(", "x = '"),
    "runtime_env": ("runtime_env.json",),
    "ship": ("device.json",),
    "rung": ("2", "4"),
    "rungs": ("50,300",),
    "run": ("run", "begun", "new"),
    "runs": ("run", "other"),
    "resume": ("run", "begun"),
    "screen": ("bits_per_byte@50",),
    "source": ("source", "code", "corpus"),
    "space": ("space.json", "job.toml", "tiny"),
    "spec": ("arch.json", "small:7", "run/model"),
    "split": ("test", "train", "valid"),
    "stop": ("\n", "def"),
    "storage": ("int4", "float16"),
    "strategy": ("random", "random,evolution", "frontier", "genetic"),
    "suffix": ("\n    return x",),
    "table": ("table.parquet", "table.jsonl", "table.npz"),
    "targets": ("latency_ms_p50=5", "bits_per_byte=1"),
    "token_file": ("key",),
    "vocab_size": ("300", "400"),
    "vocabularies": ("corpus", "corpus/tokenizer.json"),
    "vocabulary": ("char", "bpe-320"),
    "tokens frequencies vocabulary": ("corpus", "corpus/tokenizer.json"),
    "warm_start": ("other",),
    "weights": ("bits_per_byte=1", "bits_per_byte=0.5,size_bytes=0.5", "size_bytes=0"),
}

# How much work there is to do. More of it is no mistake: a case that has such a value may still be at work when its time is over.
AMOUNTS = frozenset(
    ("candidates", "count", "every", "max_mb", "max_repository_mb", "max_size", "min_size", "num_batches", "seeds", "steps", "sweeps",
     "texts", "threads", "trainings", "vocab_size", "workers", "max_tokens", "follow", "rungs", "prompt", "tokens", "streams", "rounds")
)  # fmt: skip


def pairs_of(command: Command, rng: Random) -> tuple[Option, ...]:
    """Two options of `command`, or one where it has no more."""
    return tuple(rng.sample(command.options, min(2, len(command.options))))


def drawn(command: Command, option: Option, world: Sequence[str], rng: Random) -> str:
    """A value of `option`: an ordinary one, an odd one or, where it takes a path, anything that lies in the `world`."""
    if option.is_flag:
        return rng.choice(option.words)
    ordinary = ORDINARY.get(f"{command.name} {option.name}") or ORDINARY.get(option.name) or ()
    odd = ODD.get(option.kind, ODD[str])
    if ordinary and rng.random() < 0.5:
        return rng.choice(ordinary)
    if option.kind in (PurePath, str) and rng.random() < (0.5 if option.kind is PurePath else 0.1):
        return rng.choice(world)
    return rng.choice(odd)


def is_much(option: Option, value: str) -> bool:
    """Whether `value` asks for more work than a test has time for."""
    if option.name == "job":  # of a job that says nothing, all defaults are done
        return value in ("null", "empty", "blanks", "bom.toml")
    if option.name not in AMOUNTS:
        return False
    try:
        return option.is_flag or float(value) > 100
    except ValueError:
        return False
