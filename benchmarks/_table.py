"""Where the recorded architectures lie that benchmarks replay searches on."""

import os
from pathlib import Path

TABLE = Path(os.environ.get("TABLE", Path(__file__).parent / "architectures.parquet"))
