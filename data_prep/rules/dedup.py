"""Exact duplicates."""

from data_prep.document import Entry, Rule


def first_copy() -> Rule:
    """Of documents with the same bytes keep the one that is asked for first; ask in sorted order."""
    seen: set[str] = set()

    def rule(entry: Entry) -> str | None:
        if entry.sha256 in seen:
            return "duplicate"
        seen.add(entry.sha256)
        return None

    return rule
