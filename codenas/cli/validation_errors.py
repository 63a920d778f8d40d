"""One-line error messages for settings files, from pydantic's errors."""

import difflib
from typing import TYPE_CHECKING, Any, get_args

from pydantic import BaseModel, ValidationError

from codenas.errors import readable_reason

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails


def explain(error: ValidationError, root: type[BaseModel]) -> str:
    """The first error of a file that should hold a `root`, with place, value, reason and remedy. Unknown keys first: they cause others."""
    first = min(error.errors(), key=lambda detail: (detail["type"] != "extra_forbidden", _is_other_form(detail)))
    reason = readable_reason(first)
    if not first["loc"]:  # no key is wrong by itself
        return reason
    place = _place(first["loc"])
    if first["type"] == "extra_forbidden":
        known = _keys_beside(first["loc"], root)
        near = difflib.get_close_matches(str(first["loc"][-1]), known, 1)
        hint = f"did you mean {near[0]!r}?" if near else f"known keys are {', '.join(known)}"
        return f"unknown key {place}; {hint}"
    return f"{place} = {first['input']!r} is refused: {reason}" if not isinstance(first["input"], dict) else f"{place}: {reason}"


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
