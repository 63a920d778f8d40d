"""A search space of designs: a base architecture, and choices for some fields of the architecture and of the rest of the design.

A point is an *assignment*: one choice per field, by dotted path (`d_model`, `feedforward.activation`). The choice of `pattern`
is a tuple of kinds, tiled over the depth: `("mamba2", "mamba2", "attention")` is a hybrid. `pattern.attention.n_heads` is the
field of every attention mixer of the pattern; it is inactive (a conditional parameter) where the pattern has none.
`vocabulary`, `storage` and `pruning` are the fields of `Design`; where they are no choice, they have its defaults.

A space proposes only valid `Design`s: combinations that `ArchSpec` refuses (three heads on a width of 128) are outside the
space, and are sampled again.
"""

import math
import random
from collections.abc import Callable, Mapping
from typing import Annotated, Any, Self

from pydantic import AfterValidator, Field, ValidationError, model_validator

from codenas.arch.design import Design
from codenas.arch.mixers import MixerSpec
from codenas.arch.part import Spec
from codenas.arch.spec import ArchSpec
from codenas.arch.storage import Storage
from codenas.errors import ConfigError, first_error

Choice = int | float | bool | str | None | tuple[str, ...]
Assignment = dict[str, Any]


def _lists_are_tuples(choices: dict[str, tuple[Any, ...]]) -> dict[str, tuple[Any, ...]]:
    """A file in TOML or JSON has no tuples: there a pattern is a list."""
    return {path: tuple(tuple(value) if isinstance(value, list) else value for value in values) for path, values in choices.items()}


Choices = Annotated[dict[str, tuple[Any, ...]], AfterValidator(_lists_are_tuples)]

_Templates = dict[str, dict[str, Any]]

_DESIGN_FIELDS = {name: field.default for name, field in Design.model_fields.items() if name != "arch"}
_DRAWS = 1_000  # attempts at one valid design before the space is called unusable


class SearchSpace(Spec):
    """The designs that differ from `base` only in `choices`.

    Attributes:
        mixers: one specification for every kind that a pattern may name and the base lacks; it has the fields that are no choice.
    """

    base: ArchSpec = ArchSpec()
    mixers: tuple[MixerSpec, ...] = ()
    choices: Choices = Field(min_length=1)

    @model_validator(mode="after")
    def _choices_are_legal(self) -> Self:
        for path, values in self.choices.items():
            if not values:
                raise ValueError(f"{path}: no choice is given; name at least one value")
            if any(value in values[:i] for i, value in enumerate(values)):
                raise ValueError(f"{path}: a choice is given twice in {list(values)}")
            for value in values:
                self._check_choice(path, value)
        return self

    def _check_choice(self, path: str, value: Choice) -> None:
        """Refuse a value that its field can never take; combinations are checked when they are sampled."""
        data, templates = self._base(), self._templates()
        if path == "pattern" and not isinstance(value, tuple):
            raise ValueError(f"pattern: {value!r} is no list of mixers; write one such as {sorted(templates)[:1]}")
        if path == "pattern" and not all(kind in list(templates) for kind in value):  # type: ignore[union-attr]
            raise ValueError(f"pattern: {value!r} names a mixer that is unknown here; known are {sorted(templates)}, add to `mixers`")
        head, _, rest = path.partition(".")
        if head == "pattern" and rest:
            kind = rest.partition(".")[0]
            if kind not in templates:
                raise ConfigError(f"unknown field {path!r}: write pattern.KIND.FIELD with a kind of {sorted(templates)}")
            _read(data, path, templates)
            data["pattern"] = (templates[kind],)
        _read(data, path, templates)
        _write(data, path, value, templates)
        try:
            taken = _read(_fields(_design(data)), path, templates)
        except ValidationError as error:
            own = [detail["msg"] for detail in error.errors() if detail["loc"][-1:] == (path.rpartition(".")[2],)]
            if own:
                raise ValueError(f"{path}: {value!r} is no choice: {own[0].removeprefix('Value error, ')}") from error
        else:
            if taken != value:
                raise ValueError(f"{path}: {value!r} is no choice: it would be read as {taken!r}")

    @property
    def vocabularies(self) -> tuple[str | None, ...]:
        """The vocabularies of its designs; None is that of the corpus."""
        return self.choices.get("vocabulary", (None,))

    @property
    def context_lens(self) -> tuple[int, ...]:
        """The context lengths of its architectures."""
        return self.choices.get("context_len", (self.base.context_len,))

    @property
    def storages(self) -> tuple[Storage, ...]:
        """The storages of its designs."""
        return self.choices.get("storage", ("float16",))

    @property
    def patterns(self) -> tuple[tuple[str, ...], ...]:
        """The patterns that its architectures may have, as kinds of mixers."""
        return self.choices.get("pattern", (tuple(mixer.kind for mixer in self.base.pattern),))

    @property
    def cardinality(self) -> int:
        """Combinations of choices, those that `ArchSpec` refuses included; inactive fields count once."""
        return sum(
            math.prod(len(values) for path, values in self.choices.items() if path != "pattern" and _active(path, kinds))
            for kinds in self.patterns
        )

    def refined(self, choices: Mapping[str, tuple[Any, ...]]) -> Self:
        """This space with other choices of some fields; a field that was the same in all designs becomes a choice.

        Raises:
            ConfigError: a field is unknown, or a value is none of its values.
        """
        try:
            return type(self).model_validate({**dict(self), "choices": {**self.choices, **choices}})
        except ValidationError as error:
            raise ConfigError(first_error(error)) from error

    def flatten(self, design: Design) -> Assignment:
        """The choices that make `design`; inverse of `unflatten`. An inactive field is flattened to its template's value."""
        data, templates = _fields(design), self._templates()
        return {path: _read(data, path, templates) for path in self.choices}

    def unflatten(self, assignment: Assignment) -> Design:
        """The design that `assignment` makes of the base.

        Raises:
            ConfigError: a field is missing or unknown, or the combination is no valid architecture.
        """
        if assignment.keys() != self.choices.keys():
            raise ConfigError(f"an assignment needs exactly the fields {sorted(self.choices)}; got {sorted(assignment)}")
        data, templates = self._base(), self._templates()
        for path in sorted(assignment):  # `pattern` comes before its fields
            _write(data, path, assignment[path], templates)
        try:
            return _design(data)
        except ValidationError as error:
            raise ConfigError(f"no valid architecture: {error.errors()[0]['msg']}") from error

    def contains(self, design: Design) -> bool:
        """Whether this space can propose `design`."""
        try:
            assignment, kinds = self.flatten(design), _kinds(design)
            inside = all(value in self.choices[path] for path, value in assignment.items() if _active(path, kinds))
            return inside and self.unflatten(assignment) == design
        except ConfigError:
            return False

    def sample(self, rng: random.Random) -> Design:
        """A design sampled uniformly from the valid ones, by rejection."""
        return self._first_valid(lambda: {path: rng.choice(values) for path, values in self.choices.items()})

    def mutate(self, design: Design, rng: random.Random, fields: int = 1) -> Design:
        """`design` with `fields` fields set to another choice; other fields are tried where the result is invalid."""
        kinds = _kinds(design)
        open_paths = [path for path, values in self.choices.items() if len(values) > 1 and _active(path, kinds)]
        parent, wanted = self.flatten(design), min(fields, len(open_paths))

        def child() -> Assignment:
            changed = dict(parent)
            for path in rng.sample(open_paths, wanted):
                changed[path] = rng.choice([value for value in self.choices[path] if value != parent[path]])
            return changed

        def changes_all(mutant: Design) -> bool:  # a new pattern may deactivate a changed field
            return sum(value != parent[path] for path, value in self.flatten(mutant).items()) == wanted

        return self._first_valid(child, changes_all)

    def cross(self, mother: Design, father: Design, rng: random.Random) -> Design:
        """Uniform crossover: each field from one of the two parents."""
        sides = (self.flatten(mother), self.flatten(father))
        return self._first_valid(lambda: {path: rng.choice(sides)[path] for path in self.choices})

    def _first_valid(self, draw: Callable[[], Assignment], wanted: Callable[[Design], bool] = lambda _: True) -> Design:
        for _ in range(_DRAWS):
            try:
                design = self.unflatten(draw())
            except ConfigError:
                continue
            if wanted(design):
                return design
        raise ConfigError(f"{_DRAWS} samples gave no valid architecture; widen the choices of {', '.join(sorted(self.choices))}")

    def _base(self) -> dict[str, Any]:
        """The fields that choices are written over."""
        return {**self.base.model_dump(), **_DESIGN_FIELDS}

    def _templates(self) -> _Templates:
        return {mixer.kind: mixer.model_dump() for mixer in (*self.mixers, *self.base.pattern)}


def _fields(design: Design) -> dict[str, Any]:
    """The fields of the architecture and of the rest of the design, by the names that paths use."""
    return {**design.arch.model_dump(), **design.model_dump(exclude={"arch"})}


def _design(data: dict[str, Any]) -> Design:
    """Inverse of `_fields`; raises `ValidationError`."""
    arch = {name: value for name, value in data.items() if name not in _DESIGN_FIELDS}
    return Design.model_validate({"arch": arch, **{name: data[name] for name in _DESIGN_FIELDS}})


def _kinds(design: Design) -> tuple[str, ...]:
    return tuple(mixer.kind for mixer in design.arch.pattern)


def _active(path: str, kinds: tuple[str, ...]) -> bool:
    """Whether the field at `path` is active for a pattern of `kinds`."""
    head, _, rest = path.partition(".")
    return head != "pattern" or not rest or rest.partition(".")[0] in kinds


def _read(data: Any, path: str, templates: _Templates) -> Any:
    """The value at `path`; all mixers of one kind must agree on it; where there is none, it is that of the template."""
    head, _, rest = path.partition(".")
    if not isinstance(data, dict):
        raise ConfigError(f"unknown field {path!r}: {data!r} has no fields")
    if head not in data:
        raise ConfigError(f"unknown field {path!r}: there is no {head!r} among {sorted(data)}")
    if path == "pattern":
        return tuple(mixer["kind"] for mixer in data["pattern"])
    if not rest:
        return data[head]
    if head != "pattern":
        return _read(data[head], rest, templates)
    kind, _, field = rest.partition(".")
    mixers = [mixer for mixer in data["pattern"] if mixer["kind"] == kind] or [templates[kind]]
    values = [_read(mixer, field, templates) for mixer in mixers]
    if any(value != values[0] for value in values):
        raise ConfigError(f"{path}: the mixers of the pattern differ, {values}")
    return values[0]


def _write(data: dict[str, Any], path: str, value: Any, templates: _Templates) -> None:
    head, _, rest = path.partition(".")
    if path == "pattern":
        data["pattern"] = tuple(dict(templates[kind]) for kind in value)
    elif not rest:
        data[head] = value
    elif head == "pattern":
        kind, _, field = rest.partition(".")
        for mixer in data["pattern"]:
            if mixer["kind"] == kind:
                mixer[field] = value
    else:
        _write(data[head], rest, value, templates)
