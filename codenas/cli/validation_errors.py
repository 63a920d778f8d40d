"""One-line error messages for settings files, from pydantic's errors."""

import difflib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, get_args

from pydantic import BaseModel, ValidationError

from codenas.errors import readable_reason

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails


_NAMED = 3  # keys that a hint names, at most


def explain(error: ValidationError, root: type[BaseModel]) -> str:
    """The first error of a file that should hold a `root`, with place, value, reason and remedy. Unknown keys first: they cause others."""
    first = min(error.errors(), key=lambda detail: (detail["type"] != "extra_forbidden", _is_other_form(detail)))
    reason = readable_reason(first)
    if not first["loc"]:  # no key is wrong by itself
        return reason
    place = _place(first["loc"])
    if first["type"] == "extra_forbidden":
        return f"unknown key {place}; {_hint(place, _keys_beside(first['loc'], root), root)}"
    return f"{place} = {first['input']!r} is refused: {reason}" if not isinstance(first["input"], dict) else f"{place}: {reason}"


def _hint(place: str, known: list[str], root: type[BaseModel]) -> str:
    """What the unknown key at `place` may have been meant to be: a key of this name in another table, or a similar one here."""
    above, _, key = place.rpartition(".")
    elsewhere = [path for path in _paths(root) if path.rpartition(".")[2] == key]
    inside = [path for path in elsewhere if above and path.startswith(f"{above}.")]
    if found := inside or elsewhere:
        return f"did you mean {' or '.join(found[:_NAMED])}?"
    near = difflib.get_close_matches(key, known, 1)
    return f"did you mean {near[0]!r}?" if near else f"known keys are {', '.join(known)}"


def _paths(model: type[BaseModel], table: str = "") -> Iterator[str]:
    """The dotted keys of a file that holds a `model`, of its tables too; not of tables in lists, which a dotted key cannot name."""
    for name, field in model.model_fields.items():
        yield f"{table}{name}"
        if isinstance(field.default, BaseModel):
            yield from _paths(type(field.default), f"{table}{name}.")


def _is_other_form(detail: "ErrorDetails") -> bool:
    """Whether pydantic complains that a table is no string, where either is allowed: the error is inside the table."""
    return detail["type"] == "string_type" and isinstance(detail["input"], dict)


def _place(location: tuple[int | str, ...]) -> str:
    """The keys that lead there, without the names by which pydantic tells the forms of a value apart."""
    # A form that has a validator or bounds of its own is named `tuple[...]` or `constrained-float`; no key is.
    *above, last = (part for part in map(str, location) if not {"[", "-"} & set(part))
    return ".".join([*(key for key in above if key.islower() or key.isdigit()), last])


def _keys_beside(location: tuple[int | str, ...], root: type[BaseModel]) -> list[str]:
    """The keys that a table may have, by walking from `root` to the parent of `location`."""
    models = [root]
    for part in location[:-1]:
        values = [model.model_fields[part].annotation for model in models if part in model.model_fields]
        named = [model for model in models if part == _kind(model)]
        models = [inner for value in values for inner in _models_in(value)] or named or models
    return sorted({key for model in models for key in model.model_fields})


def _kind(model: type[BaseModel]) -> Any:
    return model.model_fields["kind"].default if "kind" in model.model_fields else None


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    """The models that a value of a type can hold: alone, in a tuple, as one of several."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [inner for argument in get_args(annotation) for inner in _models_in(argument)]
