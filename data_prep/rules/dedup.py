"""Exact deduplication."""

from data_prep.document import Entry, Rule


def first_copy() -> Rule:
    """Keep the first of the documents with the same bytes; apply it in sorted order."""
    seen: set[str] = set()

    def rule(entry: Entry) -> str | None:
        if entry.sha256 in seen:
            return "duplicate"
        seen.add(entry.sha256)
        return None

    return rule
