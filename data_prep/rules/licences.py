"""Licences as SPDX identifiers, from whatever the metadata of a package says, and from the texts of licence files."""

import re
from collections.abc import Iterable
from typing import Protocol

from data_prep.config import PERMISSIVE

# The old free-text field, lower-cased, and the last part of the classifiers.
# "BSD" alone does not say how many clauses; three is the stricter.
_SPDX_BY_NAME = {
    "apache": "Apache-2.0",
    "apache 2.0": "Apache-2.0",
    "apache 2.0 license": "Apache-2.0",
    "apache license 2.0": "Apache-2.0",
    "apache license, version 2.0": "Apache-2.0",
    "apache software license": "Apache-2.0",
    "apache software license 2.0": "Apache-2.0",
    "bsd": "BSD-3-Clause",
    "bsd license": "BSD-3-Clause",
    "bsd 3-clause": "BSD-3-Clause",
    "bsd 3-clause license": "BSD-3-Clause",
    "3-clause bsd license": "BSD-3-Clause",
    "new bsd": "BSD-3-Clause",
    "bsd 2-clause license": "BSD-2-Clause",
    "isc license": "ISC",
    "isc license (iscl)": "ISC",
    "mit license": "MIT",
    "the mit license": "MIT",
    "the unlicense (unlicense)": "Unlicense",
    "psf": "PSF-2.0",
    "python software foundation license": "PSF-2.0",
    "historical permission notice and disclaimer (hpnd)": "HPND",
    "zlib/libpng license": "Zlib",
}
_SPDX_BY_NAME |= {name.lower(): name for name in PERMISSIVE}

# A phrase in each licence text, with white space collapsed and in lower case. Every licence that is found applies.
_PHRASES = (
    ("GPL", r"gnu (?:lesser |library |affero )?general public licen[sc]e"),
    ("MPL-2.0", r"mozilla public licen[sc]e"),
    ("Apache-2.0", r"apache license,? version 2\.0"),
    ("MIT", r"free of charge, to any person obtaining a copy of this software.{1,900}shall be included in all"),
    ("MIT-0", r"free of charge, to any person obtaining a copy of this software(?!.{1,900}(?:shall be included in all|redistributions))"),
    ("BSD-4-Clause", r"all advertising materials mentioning"),
    ("BSD-3-Clause", r"redistribution and use in source and binary forms.{1,2000}neither the name"),
    ("BSD-2-Clause", r"redistribution and use in source and binary forms(?!.{1,2000}neither the name)"),
    ("ISC", r"permission to use, copy, modify,? and(?:/or)? distribute this software.{1,200}provided that the above"),
    ("0BSD", r"permission to use, copy, modify,? and(?:/or)? distribute this software(?!.{1,200}provided that the above)"),
    ("Unlicense", r"free and unencumbered software released into the public domain"),
    ("CC0-1.0", r"cc0 1\.0 universal"),
    ("BSL-1.0", r"boost software license - version 1\.0"),
    ("Zlib", r"altered source versions must be plainly marked"),
    ("PSF-2.0", r"python software foundation license version 2"),
)
UNKNOWN = "LicenseRef-unknown"


class Metadata(Protocol):
    """The fields of a package's metadata, as `email` and `importlib.metadata` read them."""

    def get_all(self, name: str) -> list[str] | None:
        """All values of a field."""


def licences_in(texts: Iterable[str]) -> tuple[str, ...]:
    """The licences in the texts of licence files, sorted; an unknown text becomes `UNKNOWN`, which is not permissive."""
    found: set[str] = set()
    for text in texts:
        plain = " ".join(text.lower().split())
        found.update([name for name, phrase in _PHRASES if re.search(phrase, plain)] or [UNKNOWN])
    return tuple(sorted(found))


def licences_of(metadata: Metadata) -> tuple[str, ...]:
    """The SPDX identifiers of a package, sorted, all of which apply; an unknown name stays as it is, and is not permissive."""
    if expression := _field(metadata, "License-Expression"):
        return parse_expression(expression)
    text = _field(metadata, "License").partition("\n")[0]
    if text and (text.lower() in _SPDX_BY_NAME or " AND " in text or " OR " in text):
        return parse_expression(_SPDX_BY_NAME.get(text.lower(), text))
    classifiers = [line.rpartition(" :: ")[2] for line in metadata.get_all("Classifier") or [] if line.startswith("License :: ")]
    named = [name for name in classifiers if name not in ("OSI Approved", "DFSG approved")]
    return tuple(sorted({_SPDX_BY_NAME.get(name.lower(), name) for name in named})) or ((text[:40],) if text else ())


def parse_expression(expression: str) -> tuple[str, ...]:
    """The identifiers of an SPDX expression that apply: of alternatives (OR) the permissive ones, else all of them."""
    names = re.split(r" (?:AND|OR) ", re.sub(r"[()]| WITH [\w.-]+", "", expression))
    names = sorted({_SPDX_BY_NAME.get(name.strip().lower(), name.strip()) for name in names})
    if " AND " not in expression:
        names = [name for name in names if name in PERMISSIVE] or names
    return tuple(names)


def _field(metadata: Metadata, name: str) -> str:
    return next(iter(metadata.get_all(name) or []), "").strip()
