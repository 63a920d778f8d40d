"""The opt-out list: repositories and owners whose code is left out."""

from collections.abc import Iterable
from pathlib import Path

from codenas.errors import ConfigError
from codenas.files import read_user_text
from data_prep.document import Entry, Rule


def opted_out(names: Iterable[str]) -> Rule:
    """Drop documents of a repository `owner/name` that is listed, or whose `owner` is; case makes no difference, as on hubs."""
    listed = frozenset(name.strip("/").lower() for name in names)

    def rule(entry: Entry) -> str | None:
        repository = entry.repository.lower()
        return "opted out" if listed & {repository, repository.partition("/")[0]} else None

    return rule


def load_opt_out(path: str | None) -> list[str]:
    """The names in a text file, one per line, without empty lines and comments (#); none if `path` is None.

    Raises:
        ConfigError: the file cannot be read, or a line has spaces within or more than one "/".
    """
    if path is None:
        return []
    try:
        lines = read_user_text(Path(path)).split("\n")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise ConfigError(f"the opt-out list {path} cannot be read: {reason}; name a file that exists, or leave it out") from None
    names = [name for line in lines if (name := line.partition("#")[0].strip())]
    for name in names:
        if len(name.split()) > 1 or name.strip("/").count("/") > 1:
            raise ConfigError(f"the opt-out list {path} has the line {name!r}; write an owner or owner/repository")
    return names
