"""None in a job file. TOML has no null, so the word "none" stands for it wherever a value may be absent."""

from types import NoneType
from typing import Any, get_args

from pydantic import BaseModel

from codenas.arch.design import Design
from codenas.arch.spec import ArchSpec

NONE = "none"


def replace_none(content: Any, annotation: Any) -> Any:
    """`content`, as a TOML file has it, with None in place of the word where its type, `annotation`, allows that.

    Elsewhere the word keeps its own meaning, such as that of the choice `position = ["rope", "none"]`.
    """
    inner = get_args(annotation)
    if content == NONE:
        return None if NoneType in inner else content
    if isinstance(content, list):
        return [replace_none(each, inner[0]) if inner else each for each in content]
    if isinstance(content, dict):
        fields = {name: field.annotation for model in _models(annotation) for name, field in model.model_fields.items()}
        return {
            key: _choices(value) if key == "choices" and isinstance(value, dict) else replace_none(value, fields.get(key))
            for key, value in content.items()
        }
    return content


def _choices(choices: dict[str, Any]) -> dict[str, Any]:
    """The choices of a space: lists of values by the path of a field."""
    optional = {
        name for model in (ArchSpec, Design) for name, field in model.model_fields.items() if NoneType in get_args(field.annotation)
    }
    return {
        path: [None if value == NONE else value for value in values] if path in optional and isinstance(values, list) else values
        for path, values in choices.items()
    }


def _models(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for argument in get_args(annotation) for model in _models(argument)]
