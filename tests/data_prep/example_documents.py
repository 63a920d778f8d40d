"""Small sources made by code: parquet in The Stack v1 schema, and a Python with packages."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from data_prep.document import Document
from data_prep.sources.environment import Environment
from data_prep.sources.parquet import STACK_V1, stack_row
from data_prep.stages import Work
from data_prep.units import Unit


def code(repository: int, file: int, lines: int = 12) -> str:
    """Python that parses and is like no other file."""
    head = f'"""Module {file} of project {repository}."""\n\n\n'
    names = (f"computed_value_{repository}_{file}_{line}" for line in range(lines))
    return head + "\n\n".join(f"def {name}(left, right):\n    return left * {len(name)} + right" for name in names) + "\n"


def document(repository: str = "owner/project", path: str = "module.py", text: str = "x = 1\n", licence: str = "MIT") -> Document:
    return Document(repository, path, (licence,), "Python", text)


def documents(repositories: int = 20, files: int = 3) -> list[Document]:
    """Clean documents, sorted as `prepare` sorts them."""
    return [
        document(f"owner/project-{repository:02d}", f"src/module_{file}.py", code(repository, file))
        for repository in range(repositories)
        for file in range(files)
    ]


def write_rows(rows: Sequence[Mapping[str, Any]], file: Path, row_group: int = 7) -> Path:
    """Write rows as The Stack v1; fields that are absent are null."""
    file.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist([dict(row) for row in rows], STACK_V1), file, row_group_size=row_group)
    return file


def write_source(folder: Path, held: Sequence[Document] | None = None, files: int = 2) -> Path:
    """Spread documents over some parquet files; returns the folder."""
    rows = [stack_row(one) for one in (documents() if held is None else held)]
    for number in range(files):
        write_rows(rows[number::files], folder / f"data/train-{number:05d}-of-{files:05d}.parquet")
    return folder


def install(
    site: Path, name: str, files: Mapping[str, bytes], metadata: str = "License-Expression: MIT", also_listed: Sequence[str] = ()
) -> None:
    """Put a package into a site-packages folder as an installer does."""
    info = site / f"{name.replace('-', '_')}-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.4\nName: {name}\nVersion: 1.0\n{metadata}\n")
    for path, content in files.items():
        (site / path).parent.mkdir(parents=True, exist_ok=True)
        (site / path).write_bytes(content)
    (info / "RECORD").write_text("".join(f"{path},,\n" for path in (*files, *also_listed)))


def write_environment(root: Path, packages: int = 16) -> Environment:
    """A standard library of two modules and some packages, one of them copyleft."""
    library, site = root / "lib/python3.11", root / "lib/python3.11/site-packages"
    for path, text in {
        "asyncio/events.py": code(90, 0), "json.py": code(90, 1), "test/test_json.py": code(90, 2),
        "_sysconfigdata__linux_.py": f"prefix = '{root}'\n", "config-3.11/python-config.py": f"#!{root}/bin/python\n",
    }.items():  # fmt: skip
        (library / path).parent.mkdir(parents=True, exist_ok=True)
        (library / path).write_text(text)
    for number in range(packages):
        install(site, f"package-{number:02d}", {f"package_{number:02d}/{file}.py": code(number, file).encode() for file in range(2)})
    install(site, "copyleft", {"copyleft.py": code(91, 0).encode()}, metadata="License: GPLv3")
    install(site, "codenas", {"codenas/__init__.py": code(92, 0).encode()})
    return Environment(library, [site])


def plain_stream(units: list[Unit], work: Work, workers: int | None) -> Iterator[object]:
    """What Ray Data does, one after the other."""
    return (work(unit.table) for unit in units)
