"""Whether a training may resume from a stored one.

Another corpus, architecture, optimizer or seed is refused: the state would not fit, or batches would be repeated. Any other
setting (batch size, precision, rates, infilling, storage) only changes the steps that follow: it is resumed with a warning.
"""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from codenas.arch.design import Design
from codenas.arch.spec import ArchSpec
from codenas.checkpoint import Checkpoint
from codenas.corpus import Corpus
from codenas.errors import CheckpointError
from codenas.train.config import TrainConfig

LOGGER = logging.getLogger("codenas")

_FIXED = ("optimizer", "seed")  # of the recipe
_NO_EFFECT = ("micro_batch", "compile", "cuda_graph")  # beyond rounding errors


@dataclass(slots=True, frozen=True)
class Difference:
    """One setting in which a stored training differs from the one that is asked for. A `fixed` one cannot change during a training."""

    name: str
    stored: object
    wanted: object
    fixed: bool = False

    def __str__(self) -> str:
        return f"{self.name} {self.stored} (now {self.wanted})"


def stored_recipe(checkpoint: Checkpoint) -> dict[str, Any]:
    """The recipe that `checkpoint` was trained with. A setting that did not exist then had the effect of today's default."""
    return {**TrainConfig().model_dump(mode="json"), **checkpoint.manifest.training}


def differences(checkpoint: Checkpoint, corpus: Corpus, design: Design, recipe: TrainConfig) -> list[Difference]:
    """The differences between the training of `checkpoint` and that of `design` on `corpus` by `recipe`, fixed ones first.

    Args:
        corpus: in the vocabulary of `design`.
        recipe: with its precision resolved (`TrainConfig.on`).
    """
    return sorted(_differences(checkpoint, corpus, design, recipe), key=lambda difference: not difference.fixed)


def _differences(checkpoint: Checkpoint, corpus: Corpus, design: Design, recipe: TrainConfig) -> Iterator[Difference]:
    manifest, trained = checkpoint.manifest, stored_recipe(checkpoint)
    if manifest.vocabulary != design.vocabulary:
        yield Difference("vocabulary", manifest.vocabulary or "of the corpus", design.vocabulary or "of the corpus", fixed=True)
    elif manifest.corpus_digest != corpus.manifest.digest:
        yield Difference("corpus", manifest.corpus_digest[:12], corpus.manifest.digest[:12], fixed=True)
    if manifest.training_arch != design.arch:
        yield _changed_field("arch", manifest.training_arch, design.arch, fixed=True)
    elif manifest.arch != design.stored_arch:
        yield _changed_field("pruned", manifest.arch, design.stored_arch)
    if manifest.storage != design.storage:
        yield Difference("storage", manifest.storage, design.storage)
    for name, wanted in recipe.model_dump(mode="json").items():
        if trained.get(name) != wanted and name not in _NO_EFFECT:
            yield Difference(name, trained.get(name), wanted, fixed=name in _FIXED)


def _changed_field(prefix: str, stored: ArchSpec, wanted: ArchSpec, fixed: bool = False) -> Difference:
    """The first field in which two architectures differ."""
    before, now = _leaves(prefix, stored.model_dump(mode="json")), _leaves(prefix, wanted.model_dump(mode="json"))
    name = next(name for name in {**now, **before} if before.get(name) != now.get(name))
    return Difference(name, before.get(name), now.get(name), fixed)


def _leaves(path: str, value: Any) -> dict[str, Any]:
    """The values of nested tables and lists, each by its path: `arch.pattern.0.n_heads`."""
    if not isinstance(value, dict | list):
        return {path: value}
    entries = value.items() if isinstance(value, dict) else enumerate(value)
    return {name: leaf for key, inner in entries for name, leaf in _leaves(f"{path}.{key}", inner).items()}


def require_resumable(checkpoint: Checkpoint, found: Sequence[Difference]) -> None:
    """Refuse `differences` that are fixed; log the others as a warning.

    Raises:
        CheckpointError: one is fixed.
    """
    fixed = next((difference for difference in found if difference.fixed), None)
    if fixed is not None:
        raise CheckpointError(
            f"{checkpoint.path} was trained with {fixed}, and cannot be resumed with another; "
            f"restore that setting, or remove {checkpoint.path} to train without it"
        )
    if found:
        LOGGER.warning(f"warning: {checkpoint.path} is resumed with other settings: {', '.join(map(str, found))}")


def require_of_search(checkpoint: Checkpoint, found: Sequence[Difference]) -> None:
    """Refuse all `differences` but the precision, which may depend on the machine: all candidates of a search are trained alike.

    Raises:
        CheckpointError: a setting differs.
    """
    other = next((difference for difference in found if difference.name != "precision"), None)
    if other is not None:
        raise CheckpointError(f"{checkpoint.path} was trained with {other}: it belongs to another search; remove it to train it again")
