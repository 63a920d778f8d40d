"""The licence of an installed package as SPDX identifiers, from whatever its metadata says."""

import re
from importlib.metadata import PackageMetadata

from data_prep.config import PERMISSIVE

# The old free-text field, lower-cased, and the last part of the classifiers.
# "BSD" alone does not say how many clauses; three is the stricter.
_TEXTS = {
    "apache": "Apache-2.0",
    "apache 2.0": "Apache-2.0",
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
_TEXTS |= {name.lower(): name for name in PERMISSIVE}


def licences_of(metadata: PackageMetadata) -> tuple[str, ...]:
    """SPDX identifiers that all apply, sorted; what nobody can map stays as it is written, and is on no allow-list."""
    if expression := _field(metadata, "License-Expression"):
        return from_expression(expression)
    text = _field(metadata, "License").partition("\n")[0]
    if text and (text.lower() in _TEXTS or " AND " in text or " OR " in text):
        return from_expression(_TEXTS.get(text.lower(), text))
    classifiers = [line.rpartition(" :: ")[2] for line in metadata.get_all("Classifier") or [] if line.startswith("License :: ")]
    named = [name for name in classifiers if name not in ("OSI Approved", "DFSG approved")]
    return tuple(sorted({_TEXTS.get(name.lower(), name) for name in named})) or ((text[:40],) if text else ())


def from_expression(expression: str) -> tuple[str, ...]:
    """The identifiers of an SPDX expression that apply: of plain alternatives the permissive ones, else all of them."""
    names = re.split(r" (?:AND|OR) ", re.sub(r"[()]| WITH [\w.-]+", "", expression))
    names = sorted({_TEXTS.get(name.strip().lower(), name.strip()) for name in names})
    if " AND " not in expression:
        names = [name for name in names if name in PERMISSIVE] or names
    return tuple(names)


def _field(metadata: PackageMetadata, name: str) -> str:
    return next(iter(metadata.get_all(name) or []), "").strip()
