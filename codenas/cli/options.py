"""Conversion of options to settings: the models check bounds, and errors name the option."""

from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from codenas.errors import ConfigError

Model = TypeVar("Model", bound=BaseModel)


def settings_of(model: type[Model], values: Mapping[str, Any], options: Mapping[str, str] | None = None) -> Model:
    """The settings with `values`; `options` names those whose option is not called as the field is.

    Raises:
        ConfigError: a value is outside its bounds, named in one line.
    """
    try:
        return model.model_validate(dict(values))
    except ValidationError as error:
        first = error.errors()[0]
        field = str(first["loc"][0])
        option = (options or {}).get(field, f"--{field.replace('_', '-')}")
        given = ",".join(map(str, first["input"])) if isinstance(first["input"], list) else first["input"]
        raise ConfigError(f"{option} {given} is refused: {first['msg'].removeprefix('Value error, ')}") from None
