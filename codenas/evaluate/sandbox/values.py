"""Values as JSON between the process of the generated code and that of the tests: what is read is of a plain type, nothing can be forged.

What is no plain value (an instance of a class of the generated code) is passed as a reference, which means something only to the process
that holds the object.
"""

import json
from collections.abc import Callable
from typing import Any

MAX_BYTES = 16_000_000  # of one encoded message
MAX_DEPTH = 200

# Subclasses (Counter, named tuples) become the plain type. Integers are hexadecimal: Python limits the length of decimal ones.
_SCALARS: dict[type, Callable[[Any], Any]] = {
    str: lambda value: str.__str__(value),
    int: lambda value: {"int": hex(value)},
    float: lambda value: {"float": float.__repr__(value)},
    complex: lambda value: {"complex": [repr(value.real), repr(value.imag)]},
    bytes: lambda value: {"bytes": value.hex()},
}
_COLLECTIONS: dict[Any, str] = {list: "list", tuple: "tuple", set: "set", frozenset: "frozenset"}
_TYPES: dict[str, type] = {kind.__name__: kind for kind in (bool, str, int, float, complex, bytes, dict, list, tuple, set, frozenset)}
_READERS: dict[str, Callable[[Any], Any]] = {
    "int": lambda text: int(text, 16),
    "float": float,
    "complex": lambda parts: complex(*map(float, parts)),
    "bytes": bytes.fromhex,
    "type": lambda name: _TYPES[name],
}

Reference = Callable[[Any], Any]


def encode(value: Any, reference: Reference) -> Any:
    """`value` as JSON data. `reference` gives the JSON data of what is no plain value.

    Raises:
        ValueError: it is nested deeper than `MAX_DEPTH`, or contains itself.
    """
    return _encode(value, reference, MAX_DEPTH)


def _encode(value: Any, reference: Reference, depth: int) -> Any:
    if depth == 0:
        raise ValueError(f"a value is nested deeper than {MAX_DEPTH}")
    if value is None or isinstance(value, bool):
        return value
    for kind, write in _SCALARS.items():
        if isinstance(value, kind):
            return write(value)
    if isinstance(value, dict):
        return {"dict": [[_encode(part, reference, depth - 1) for part in item] for item in dict.items(value)]}
    for kind, name in _COLLECTIONS.items():
        if isinstance(value, kind):
            return {name: [_encode(item, reference, depth - 1) for item in kind.__iter__(value)]}
    if isinstance(value, type) and _TYPES.get(value.__name__) is value:
        return {"type": value.__name__}
    return {"object": reference(value)}


def decode(data: Any, dereference: Reference) -> Any:
    """The value of what `encode` made, from JSON data of any origin.

    Raises:
        ValueError: the data is not what `encode` makes.
    """
    if data is None or isinstance(data, bool | str):
        return data
    if not isinstance(data, dict) or len(data) != 1:
        raise ValueError("a message is not a value")
    (name, content), *_ = data.items()
    if name == "object":
        return dereference(content)
    try:
        if name in _READERS:
            return _READERS[name](content)
        if name == "dict":
            return {decode(key, dereference): decode(value, dereference) for key, value in content}
        kind = next(kind for kind, known in _COLLECTIONS.items() if known == name)
        return kind([decode(item, dereference) for item in content])
    except (TypeError, KeyError, StopIteration, RecursionError) as error:
        raise ValueError("a message is not a value") from error


def dump(message: Any) -> bytes:
    """One line of JSON.

    Raises:
        ValueError: it is longer than `MAX_BYTES`.
    """
    line = json.dumps(message, allow_nan=False).encode() + b"\n"
    if len(line) > MAX_BYTES:
        raise ValueError(f"a value takes {len(line)} bytes; the limit is {MAX_BYTES}")
    return line
