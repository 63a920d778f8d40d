"""Kill `codenas prepare` (SIGKILL) at ten random moments and resume it: the corpora equal that of an undisturbed run."""

import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks._stack import write_source
from codenas.corpus import Corpus
from codenas.seeds import stream

KILLS, MEGABYTES, SEED = 10, 20, 0


def measure(kills: int = KILLS, megabytes: float = MEGABYTES, seed: int = SEED) -> dict[str, object]:
    """Each run resumes where the last one was killed; one that finishes is compared, and the next starts from an empty folder."""
    rng, corpora, killed_at = stream(seed, "kills"), list[Corpus](), list[float]()
    with tempfile.TemporaryDirectory() as scratch:
        source = write_source(Path(scratch) / "source", megabytes)
        started = time.perf_counter()
        _run(source, Path(scratch) / "undisturbed", None)
        seconds = time.perf_counter() - started
        undisturbed = Corpus.open(Path(scratch) / "undisturbed")
        while len(killed_at) < kills or not corpora:
            output = Path(scratch) / f"corpus-{len(corpora)}"
            kill_after = rng.uniform(0, seconds) if len(killed_at) < kills else None
            if _run(source, output, kill_after):
                corpora.append(Corpus.open(output))
            else:
                killed_at.append(round(kill_after or 0, 1))
        if len(killed_at) and (Path(scratch) / f".corpus-{len(corpora)}.part").exists():
            _run(source, Path(scratch) / f"corpus-{len(corpora)}", None)
            corpora.append(Corpus.open(Path(scratch) / f"corpus-{len(corpora)}"))
        for corpus in (undisturbed, *corpora):
            corpus.verify()
        equal = sum(corpus.manifest == undisturbed.manifest for corpus in corpora)
    return {
        "undisturbed_seconds": round(seconds, 1),
        "killed_after_seconds": killed_at,
        "corpora": len(corpora),
        "same": equal,
        "passed": equal == len(corpora),
    }


def _run(source: Path, output: Path, kill_after: float | None) -> bool:
    """Whether the command finished before it was killed."""
    command = [sys.executable, "-m", "codenas", "prepare", "--source", str(source), "--output", str(output)]
    options = ["--max-mb", "1000", "--max-repository-mb", "1000", "--vocab-size", "1024"]
    with subprocess.Popen([*command, *options], stdout=sys.stderr) as running:
        try:
            code = running.wait(kill_after)
        except subprocess.TimeoutExpired:
            running.kill()
            return False
    if code:
        raise subprocess.CalledProcessError(code, command)
    return True
