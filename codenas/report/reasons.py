"""Why candidates were refused before training, or failed during it."""

import re
from collections.abc import Sequence
from typing import Literal

from pydantic import BaseModel, ConfigDict

from codenas.search.candidate import Trial

_NUMBER = re.compile(r"(?<![\w.])-?\d[\d,]*(?:\.\d+)?(?:e[+-]?\d+)?\b")


class Reason(BaseModel):
    """Candidates with the same reason; `reason` is that of the first, the others may differ in their numbers."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["refused", "failed"]
    reason: str
    candidates: tuple[str, ...]


def reasons(trials: Sequence[Trial]) -> tuple[Reason, ...]:
    """Refused and failed candidates by reason, the most frequent first. Reasons that differ only in numbers are counted as one."""
    texts, lost = dict[tuple[Literal["refused", "failed"], str], str](), dict[tuple[Literal["refused", "failed"], str], list[str]]()
    for trial in trials:
        end = trial.refusal or trial.failure
        if end is not None:
            kind: Literal["refused", "failed"] = "refused" if trial.refusal else "failed"
            key = (kind, _NUMBER.sub("#", end.reason))
            texts.setdefault(key, end.reason)
            lost.setdefault(key, []).append(trial.candidate.id)
    order = sorted(lost, key=lambda key: (-len(lost[key]), key))
    return tuple(Reason(kind=key[0], reason=texts[key], candidates=tuple(lost[key])) for key in order)
