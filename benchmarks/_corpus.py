"""The corpus of the benchmarks: the Python source on this machine, prepared once."""

import subprocess
import sys
from pathlib import Path

from codenas.corpus import Corpus

FOLDER = Path("corpora/environment")


def environment_corpus() -> Corpus:
    """Prepare it with the command that users run; a finished one is opened at once."""
    subprocess.run([sys.executable, "-m", "codenas", "prepare", "--output", str(FOLDER)], check=True, stdout=sys.stderr)
    return Corpus.open(FOLDER)
