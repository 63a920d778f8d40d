"""Candidates that a search lost, and why: refused before they were trained, or failed on the way."""

import re
from collections.abc import Sequence
from typing import Literal

from pydantic import BaseModel, ConfigDict

from codenas.search.candidate import Trial

_NUMBER = re.compile(r"(?<![\w.])-?\d[\d,]*(?:\.\d+)?(?:e[+-]?\d+)?\b")


class Reason(BaseModel):
    """Candidates that were lost for one reason; `reason` is that of the first, others differ in their figures."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["refused", "failed"]
    reason: str
    candidates: tuple[str, ...]


def reasons(trials: Sequence[Trial]) -> tuple[Reason, ...]:
    """What was lost, by reason, the most frequent first. Reasons that differ in figures alone are one."""
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
