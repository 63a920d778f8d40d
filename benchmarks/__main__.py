"""`python -m benchmarks [NAME ...]`: run the benchmarks named, or all that do not take long; `gpu` has options of its own."""

import importlib
import json
import pkgutil
import sys
from pathlib import Path

# Ten minutes to hours: only by name.
_LONG_MODELS = {"batch_rates", "causality", "decode_engine", "fairness", "recipe", "training"}
_LONG_SEARCHES = {"faults", "memory", "search_share", "two_gpus"}
_LONG_CORPORA = {"prepare_kills", "prepare_memory", "prepare_throughput"}
LONG = _LONG_MODELS | _LONG_SEARCHES | _LONG_CORPORA


def main() -> None:
    """One JSON line per benchmark, as soon as it is done; of those that yield several results, a line for each."""
    if sys.argv[1:2] == ["gpu"] and len(sys.argv) > 2:
        importlib.import_module("benchmarks.gpu").main(sys.argv[2:])
        return
    known = [module.name for module in pkgutil.iter_modules([str(Path(__file__).parent)]) if not module.name.startswith("_")]
    unknown = sorted(set(sys.argv[1:]) - set(known))
    if unknown:
        sys.exit(f"there is no benchmark {', '.join(unknown)}; known are {', '.join(known)}")
    for name in sys.argv[1:] or [name for name in known if name not in LONG]:
        figures = importlib.import_module(f"benchmarks.{name}").measure()
        for line in [figures] if isinstance(figures, dict) else figures:
            print(json.dumps({"benchmark": name, **line}), flush=True)


main()
