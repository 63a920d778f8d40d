"""A space of architectures: a base and the choices of some of its fields.

A point is an *assignment*: one choice per field, by dotted path (`d_model`, `pattern.*.n_heads`, `feedforward.activation`).
`pattern.*` stands for every mixer of the pattern. What a space can propose is a valid `ArchSpec`: combinations that
`ArchSpec` refuses (three heads on a width of 128) are outside the space, and are drawn again.
"""

import math
import random
from typing import Any, Self

from pydantic import Field, ValidationError, model_validator

from codenas.arch.spec import ArchSpec, Spec
from codenas.errors import ConfigError

Choice = int | float | bool | str | None
Assignment = dict[str, Any]

_DRAWS = 1_000  # attempts at one valid point before the space is called unusable


class SearchSpace(Spec):
    """The architectures that differ from `base` only by `choices`."""

    base: ArchSpec = ArchSpec()
    choices: dict[str, tuple[Any, ...]] = Field(min_length=1)

    @model_validator(mode="after")
    def _choices_are_legal(self) -> Self:
        for path, values in self.choices.items():
            if not values:
                raise ValueError(f"{path}: no choice is given; name at least one value")
            if any(value in values[:i] for i, value in enumerate(values)):
                raise ValueError(f"{path}: a choice stands twice in {list(values)}")
            for value in values:
                self._check_choice(path, value)
        return self

    def _check_choice(self, path: str, value: Choice) -> None:
        """Refuse a value that its field refuses whatever the others are; a combination is judged when it is drawn."""
        data = self.base.model_dump()
        _read(data, path)
        _write(data, path, value)
        try:
            taken = _read(ArchSpec.model_validate(data).model_dump(), path)
        except ValidationError as error:
            own = [detail["msg"] for detail in error.errors() if detail["loc"][-1:] == (path.rpartition(".")[2],)]
            if own:
                raise ValueError(f"{path}: {value!r} is no choice: {own[0]}") from error
        else:
            if taken != value:
                raise ValueError(f"{path}: {value!r} is no choice: it would be read as {taken!r}")

    @property
    def cardinality(self) -> int:
        """Combinations of choices, those that `ArchSpec` refuses included."""
        return math.prod(len(values) for values in self.choices.values())

    def flatten(self, arch: ArchSpec) -> Assignment:
        """The choices that make `arch`; inverse of `unflatten`."""
        data = arch.model_dump()
        return {path: _read(data, path) for path in self.choices}

    def unflatten(self, assignment: Assignment) -> ArchSpec:
        """The architecture that `assignment` makes of the base.

        Raises:
            ConfigError: a field is missing or unknown, or the combination is no valid architecture.
        """
        if assignment.keys() != self.choices.keys():
            raise ConfigError(f"an assignment needs exactly the fields {sorted(self.choices)}; got {sorted(assignment)}")
        data = self.base.model_dump()
        for path, value in assignment.items():
            _write(data, path, value)
        try:
            return ArchSpec.model_validate(data)
        except ValidationError as error:
            raise ConfigError(f"no valid architecture: {error.errors()[0]['msg']}") from error

    def contains(self, arch: ArchSpec) -> bool:
        """Whether this space can propose `arch`."""
        try:
            assignment = self.flatten(arch)
            inside = all(value in self.choices[path] for path, value in assignment.items())
            return inside and self.unflatten(assignment) == arch
        except ConfigError:
            return False

    def sample(self, rng: random.Random) -> ArchSpec:
        """A point drawn uniformly from the valid ones (rejection)."""
        return self._first_valid(lambda: {path: rng.choice(values) for path, values in self.choices.items()})

    def mutate(self, arch: ArchSpec, rng: random.Random, fields: int = 1) -> ArchSpec:
        """`arch` with `fields` fields set to another choice; the fields are drawn again where the result is not valid."""
        open_paths = [path for path, values in self.choices.items() if len(values) > 1]
        parent = self.flatten(arch)

        def child() -> Assignment:
            changed = dict(parent)
            for path in rng.sample(open_paths, min(fields, len(open_paths))):
                changed[path] = rng.choice([value for value in self.choices[path] if value != parent[path]])
            return changed

        return self._first_valid(child)

    def cross(self, mother: ArchSpec, father: ArchSpec, rng: random.Random) -> ArchSpec:
        """Uniform crossover: each field from one of the two parents."""
        sides = (self.flatten(mother), self.flatten(father))
        return self._first_valid(lambda: {path: rng.choice(sides)[path] for path in self.choices})

    def _first_valid(self, draw: Any) -> ArchSpec:
        for _ in range(_DRAWS):
            try:
                return self.unflatten(draw())
            except ConfigError:
                continue
        raise ConfigError(f"{_DRAWS} draws gave no valid architecture; widen the choices of {sorted(self.choices)}")


def _read(data: Any, path: str) -> Any:
    """The value at `path`; under `pattern.*` all mixers must agree on it."""
    head, _, rest = path.partition(".")
    if not isinstance(data, dict):
        raise ConfigError(f"unknown field {path!r}: {data!r} has no fields")
    if head not in data:
        raise ConfigError(f"unknown field {path!r}: there is no {head!r} among {sorted(data)}")
    if not rest:
        return data[head]
    if head != "pattern":
        return _read(data[head], rest)
    if not rest.startswith("*."):
        raise ConfigError(f"unknown field {path!r}: write 'pattern.*.' for the field of every mixer")
    values = [_read(mixer, rest.removeprefix("*.")) for mixer in data["pattern"]]
    if any(value != values[0] for value in values):
        raise ConfigError(f"{path}: the mixers of the pattern differ, {values}")
    return values[0]


def _write(data: dict[str, Any], path: str, value: Choice) -> None:
    head, _, rest = path.partition(".")
    if not rest:
        data[head] = value
    elif head == "pattern":
        for mixer in data["pattern"]:
            _write(mixer, rest.removeprefix("*."), value)
    else:
        _write(data[head], rest, value)
