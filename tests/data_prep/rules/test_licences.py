"""From the metadata of a package to SPDX identifiers."""

from importlib.metadata import PackageMetadata

import pytest

from data_prep.rules.licences import licences_of
from tests.data_prep.example_documents import install


@pytest.fixture
def metadata(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> PackageMetadata:
    from importlib.metadata import distributions

    site = tmp_path_factory.mktemp("site")
    install(site, "package", {}, metadata=request.param)
    return next(iter(distributions(path=[str(site)]))).metadata


@pytest.mark.parametrize(
    ("metadata", "expected"),
    [
        ("License-Expression: MIT", ("MIT",)),
        ("License-Expression: Apache-2.0 AND MIT", ("Apache-2.0", "MIT")),
        ("License-Expression: Apache-2.0 OR BSD-3-Clause", ("Apache-2.0", "BSD-3-Clause")),
        ("License-Expression: MIT OR GPL-3.0-only", ("MIT",)),
        ("License-Expression: MIT AND GPL-3.0-only", ("GPL-3.0-only", "MIT")),
        ("License-Expression: (MIT OR ISC) AND GPL-3.0-only", ("GPL-3.0-only", "ISC", "MIT")),
        ("License-Expression: Apache-2.0 WITH LLVM-exception AND MIT", ("Apache-2.0", "MIT")),
        ("License-Expression: MIT\nLicense: GPL", ("MIT",)),
        ("License: Apache License, Version 2.0", ("Apache-2.0",)),
        ("License: MPL-2.0 AND MIT", ("MIT", "MPL-2.0")),
        ("License: BSD", ("BSD-3-Clause",)),
        ("License: Copyright (c) 2015\nClassifier: License :: OSI Approved :: BSD License", ("BSD-3-Clause",)),
        ("Classifier: License :: OSI Approved\nClassifier: License :: OSI Approved :: MIT License", ("MIT",)),
        ("Classifier: License :: OSI Approved :: MIT License\nClassifier: License :: Other/Proprietary License",
         ("MIT", "Other/Proprietary License")),
        ("License: GPLv3", ("GPLv3",)),
        ("Summary: nothing said", ()),
    ],
    indirect=["metadata"],
)  # fmt: skip
def test_licences_of(metadata: PackageMetadata, expected: tuple[str, ...]) -> None:
    assert licences_of(metadata) == expected
