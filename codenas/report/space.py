"""A search space in tables: its size, its choices and constraints, and the costs of its architectures."""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from statistics import median

from rich.table import Table

from codenas.arch.cost import decoding_flops, parameters, stored_bytes
from codenas.arch.design import Design
from codenas.arch.mixers import MIXER_SPECS
from codenas.arch.space import Choice, SearchSpace
from codenas.arch.spec import ArchSpec
from codenas.errors import ConfigError
from codenas.report.architecture import describe
from codenas.report.scale import scaled

# A preset cannot know which vocabularies a corpus has.
_MORE_VOCABULARIES = (
    'that of the corpus; to search over several, prepare them with vocabularies = ["char", "bpe-1024"] in [prepare] '
    "and list them in the choices of the space, vocabulary = [...]"
)


@dataclass(frozen=True, slots=True)
class SpaceSample:
    """Designs sampled from a space, and the share of combinations that are invalid."""

    designs: tuple[Design, ...]
    invalid: float

    @property
    def archs(self) -> tuple[ArchSpec, ...]:
        """Their architectures, as they are trained."""
        return tuple(design.arch for design in self.designs)


def draw_sample(space: SearchSpace, count: int, seed: int = 0) -> SpaceSample:
    """`count` valid samples."""
    rng = random.Random(seed)
    designs = tuple(space.sample(rng) for _ in range(count))
    fit = sum(_fits(space, {path: rng.choice(values) for path, values in space.choices.items()}) for _ in range(count))
    return SpaceSample(designs, 1 - fit / count)


def space_figures(space: SearchSpace, sample: SpaceSample, vocab_size: int) -> list[tuple[str, str]]:
    """The space as names and values for `summary_lines`."""
    sizes = sorted(parameters(arch, vocab_size) for arch in sample.archs)
    stored = sorted(stored_bytes(design.stored_arch, vocab_size, design.storage) for design in sample.designs)
    patterns = _patterns(space)
    fixed = {path: value for path, value in _flat(Design(arch=space.base)).items() if path not in space.choices}
    return [
        ("combinations", f"{space.cardinality:,}, about {100 * (1 - sample.invalid):.0f} % of them valid"),
        ("parameters", f"{scaled(sizes[0])} to {scaled(sizes[-1])}, median {scaled(median(sizes))} ({len(sizes):,} samples)"),
        (
            "stored size",
            f"{scaled(stored[0], 'B')} to {scaled(stored[-1], 'B')}, median {scaled(median(stored), 'B')}, without the tokenizer",
        ),
        ("families", f"{sum(len(set(kinds)) == 1 for kinds in patterns)} pure, {sum(len(set(kinds)) > 1 for kinds in patterns)} hybrid"),
        ("constraints", "; ".join(_constraints(space))),
        ("fixed", ", ".join(f"{path} {_value(value)}" for path, value in fixed.items())),
        ("vocabularies", _MORE_VOCABULARIES if space.vocabularies == (None,) else ", ".join(map(_vocabulary, space.vocabularies))),
        *((f"base of {mixer.kind}", describe(mixer)) for mixer in (*space.base.pattern, *space.mixers)),
    ]


def choices_table(space: SearchSpace) -> Table:
    """One line per field."""
    table = Table(title="Choices", title_justify="left")
    table.add_column("field")
    table.add_column("", justify="right")
    table.add_column("choices")
    for path, values in space.choices.items():
        table.add_row(path, str(len(values)), ", ".join(_value(value) for value in values))
    return table


def families_table(space: SearchSpace, sample: SpaceSample, vocab_size: int) -> Table:
    """Costs by pattern: the range of the parameters, and medians."""
    table = Table(title="Families (sampled)", title_justify="left")
    table.add_column("pattern")
    for heading in ("samples", "parameters\nmin", "\nmedian", "\nmax", "float16\nmedian", "int4\nmedian", "decoding a token\nmedian"):
        table.add_column(heading, justify="right")
    for kinds in _patterns(space):
        archs = [arch for arch in sample.archs if tuple(mixer.kind for mixer in arch.pattern) == kinds]
        if not archs:
            continue
        sizes = [parameters(arch, vocab_size) for arch in archs]
        table.add_row(
            _value(kinds),
            str(len(archs)),
            *(scaled(figure) for figure in (min(sizes), median(sizes), max(sizes))),
            scaled(median(stored_bytes(arch, vocab_size) for arch in archs), "B"),
            scaled(median(stored_bytes(arch, vocab_size, "int4") for arch in archs), "B"),
            scaled(median(decoding_flops(arch, vocab_size, arch.context_len - 1) for arch in archs), "FLOP"),
        )
    return table


def _fits(space: SearchSpace, assignment: dict[str, Choice]) -> bool:
    try:
        space.unflatten(assignment)
    except ConfigError:
        return False
    return True


def _patterns(space: SearchSpace) -> Sequence[tuple[str, ...]]:
    return space.choices.get("pattern", (tuple(mixer.kind for mixer in space.base.pattern),))


def _constraints(space: SearchSpace) -> list[str]:
    """The constraints that apply to the mixers of `space`."""
    kinds = {kind for pattern in _patterns(space) for kind in pattern}
    own = [f"{spec.label}: {', '.join(spec.constraints)}" for spec in MIXER_SPECS if spec.family() in kinds and spec.constraints]
    return [*ArchSpec.constraints, *own]


def _flat(design: Design) -> dict[str, Choice]:
    """The fields of a design by dotted path, without pattern and vocabulary, which have lines of their own."""
    data = design.arch.model_dump(exclude={"pattern"})
    inner = {f"feedforward.{name}": value for name, value in data.pop("feedforward").items()}
    return {**data, **inner, **design.model_dump(exclude={"arch", "vocabulary"})}


def _vocabulary(name: str | None) -> str:
    return "that of the corpus" if name is None else name


def _value(value: Choice) -> str:
    if isinstance(value, tuple):
        return " + ".join(f"{len(list(run))} x {kind}" if len(value) > 2 else kind for kind, run in groupby(value))
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:.3g}" if isinstance(value, float) else "none" if value is None else str(value)
