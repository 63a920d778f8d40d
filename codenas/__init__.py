"""CodeNAS: find, train and serve the best code-completion model inside a size and latency limit.

>>> import codenas
>>> run = codenas.run_search("corpora/mine", "runs/mine", "small", max_mb=3, max_ms=5)
>>> run.load_winner().complete("def read_json(path):")

`import codenas` is instant: a name is imported when it is first used.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

__all__ = [
    "Budget", "CodeNASError", "Corpus", "Evaluation", "EvaluationSettings", "Metrics", "Model", "Objective", "SearchJob",
    "SearchResult", "SearchRun", "TrainJob", "Trial", "UserError", "load", "open_corpus", "open_run", "run_search",
]  # fmt: skip

if TYPE_CHECKING:
    from codenas.api import (
        Budget,
        CodeNASError,
        Corpus,
        Evaluation,
        EvaluationSettings,
        Metrics,
        Model,
        Objective,
        SearchJob,
        SearchResult,
        SearchRun,
        TrainJob,
        Trial,
        UserError,
        load,
        open_corpus,
        open_run,
        run_search,
    )
else:

    def __getattr__(name: str) -> Any:
        if name not in __all__:
            raise AttributeError(f"module 'codenas' has no attribute {name!r}; it has {', '.join(__all__)}")
        return getattr(import_module("codenas.api"), name)

    def __dir__() -> list[str]:
        return sorted({*globals(), *__all__})
