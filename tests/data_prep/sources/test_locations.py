"""Parquet on other machines, with servers on loopback in the place of S3 and of the hub."""

import hashlib
import json
import random
import shutil
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from urllib.parse import parse_qs, unquote, urlsplit

import pytest

from codenas.errors import CorpusError
from data_prep.document import Document
from data_prep.sources import locations
from data_prep.sources.locations import Remote, folder_of, location_of, parquet_at
from data_prep.sources.parquet import list_entries, parquet_files, read_documents, stack_row
from data_prep.units import units_of
from tests.data_prep.example_documents import documents, write_rows, write_source
from tests.data_prep.places import Answer, Place, serving


@pytest.fixture
def files(tmp_path: Path) -> dict[str, bytes]:
    """Two files of parquet and one of something else, by their path."""
    rows = [stack_row(one) for one in documents(6)]
    for row in rows:  # so that whoever reads names alone, and the 64 KB at the end in which Arrow finds the footer, reads much less
        row["content"] += f"# {random.Random(row['hexsha']).randbytes(200_000).hex()}\n"
    found = {
        f"data/python/{number}.parquet": write_rows(rows[number::2], tmp_path / f"{number}.parquet").read_bytes() for number in range(2)
    }
    return found | {"data/README.md": b"# The data"}


def s3(files: dict[str, bytes]) -> Iterator[Place]:
    def reply(method: str, path: str) -> Answer:
        split = urlsplit(path)
        query, key = parse_qs(split.query), unquote(split.path).removeprefix("/bucket").strip("/")
        if "list-type" in query:
            prefix = query.get("prefix", [""])[0]
            below = [name for name in files if name.startswith(prefix)]
            deeper = {name[: name.index("/", len(prefix)) + 1] for name in below if "delimiter" in query and "/" in name[len(prefix) :]}
            held = [
                f"<Contents><Key>{one}</Key><Size>{len(files[one])}</Size></Contents>" for one in below if not one.startswith(tuple(deeper))
            ]
            held += [f"<CommonPrefixes><Prefix>{one}</Prefix></CommonPrefixes>" for one in sorted(deeper)]
            head = f"<Name>bucket</Name><IsTruncated>false</IsTruncated><KeyCount>{len(held)}</KeyCount>"
            return Answer(f"<ListBucketResult>{head}{''.join(held)}</ListBucketResult>".encode())
        if key in files:
            return Answer(files[key], headers={"ETag": f'"{hashlib.md5(files[key]).hexdigest()}"'})
        return Answer(b"<Error><Code>NoSuchKey</Code></Error>", 404)

    with serving(reply) as place:
        yield place


def hub(files: dict[str, bytes]) -> Iterator[Place]:
    def listed(name: str) -> dict[str, object]:
        return {"type": "file", "path": name, "size": len(files[name]), "oid": hashlib.sha1(files[name]).hexdigest()}

    def reply(method: str, path: str) -> Answer:
        split = urlsplit(path)
        route = unquote(split.path)
        if route == "/api/datasets/org/name" or route.startswith("/api/datasets/org/name/revision/"):
            return Answer(json.dumps({"id": "org/name", "sha": "1" * 40, "siblings": []}).encode())
        if "/tree/" in route:
            folder = route.split("/tree/")[1].partition("/")[2]
            below = [name for name in files if name.startswith(f"{folder}/" if folder else "")]
            parents = {str(parent) for name in below for parent in PurePosixPath(name).parents if len(str(parent)) > len(folder)}
            held = [listed(name) for name in below] + [
                {"type": "directory", "path": name, "oid": "0" * 40} for name in sorted(parents - {"."})
            ]
            if "recursive=true" not in split.query.lower():
                held = [one for one in held if str(PurePosixPath(str(one["path"])).parent) == (folder or ".")]
            return Answer(json.dumps(held).encode())
        if "/paths-info/" in route:
            return Answer(json.dumps([{"type": "directory", "path": "data", "oid": "0" * 40}]).encode())
        name = route.partition("/resolve/")[2].partition("/")[2]
        if name in files:
            return Answer(files[name], headers={"X-Repo-Commit": "1" * 40, "ETag": f'"{"2" * 40}"'})
        return Answer(b"{}", 404, {"X-Error-Code": "RepoNotFound"})

    with serving(reply) as place:
        yield place


@pytest.fixture(params=["s3", "hf"])
def place(request: pytest.FixtureRequest, files: dict[str, bytes], monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Remote, Place]]:
    """A folder on another machine, and the machine."""
    monkeypatch.setattr(locations, "_store", lambda scheme: locations._STORES[scheme]())
    locations._footer.cache_clear()
    server = s3(files) if request.param == "s3" else hub(files)
    opened = next(server)
    for name, value in {
        "AWS_ENDPOINT_URL": opened.url, "AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_EC2_METADATA_DISABLED": "true",
        "HF_ENDPOINT": opened.url,
    }.items():  # fmt: skip
        monkeypatch.setenv(name, value)
    root = location_of("s3://bucket/data" if request.param == "s3" else "hf://datasets/org/name/data")
    assert isinstance(root, Remote)
    yield root, opened
    next(server, None)


def test_documents_come_from_another_machine_by_their_columns(place: tuple[Remote, Place], files: dict[str, bytes]) -> None:
    root, server = place
    found = parquet_files(root)
    assert [file.name for file in found] == ["0.parquet", "1.parquet"]
    entries = list(list_entries(found, root))
    assert sorted(entry.key for entry in entries) == [(one.repository, one.path) for one in documents(6)]
    listing = sum(size for _, _, size in server.asked)
    assert listing < sum(map(len, files.values())) / 2
    read = [one for unit in units_of(entries) for one in read_documents(root / unit.file, unit.row_group, unit.rows)]
    assert {one.text.partition("#")[0] for one in read if isinstance(one, Document)} == {one.text for one in documents(6)}


def test_one_file_is_a_source_too(place: tuple[Remote, Place]) -> None:
    file = place[0] / "python" / "1.parquet"
    assert parquet_files(file) == [file] and folder_of(file) == place[0] / "python"


def test_what_is_not_there_is_one_line(place: tuple[Remote, Place]) -> None:
    with pytest.raises(CorpusError, match=r"^there is no \w+://.*/absent.parquet, or you have no access; check the name") as caught:
        parquet_files(Remote(f"{place[0]}/absent.parquet"))
    assert "127.0.0.1" not in str(caught.value)


def test_a_connection_that_breaks_is_no_bad_row(place: tuple[Remote, Place], monkeypatch: pytest.MonkeyPatch) -> None:
    """Dropped as unreadable, whole files would be missing from the corpus."""
    root, _ = place
    (file, _) = parquet_files(root)

    class Broken:
        def open(self, _: str) -> "Broken":
            return self

        def read(self, _: int) -> bytes:
            raise OSError("Connection reset by peer")

        def seek(self, *_: int) -> int:
            return 0

        def tell(self) -> int:
            return 1 << 40

        def close(self) -> None:
            pass

    monkeypatch.setattr(locations, "_store", lambda _: Broken())
    with pytest.raises(CorpusError, match=r"0.parquet cannot be reached \(OSError\); check the network and run again"):
        list(read_documents(file, 0, [0]))


@pytest.mark.parametrize("source", ["ftp://host/data", "gs://bucket/data", "hf://", "hf://org/name", "hf://datasets/name", "://x"])
def test_an_unknown_kind_of_place_is_refused_with_those_that_are_known(source: str) -> None:
    with pytest.raises(CorpusError, match=r"is of an unknown kind; use .*hf://datasets/.* or s3://BUCKET/FOLDER"):
        location_of(source)


def test_places_on_this_machine_have_two_names(tmp_path: Path) -> None:
    assert location_of(f"file://{tmp_path}/with%20space") == tmp_path / "with space"
    assert location_of(str(tmp_path)) == tmp_path == folder_of(tmp_path)


def hub_cache(folder: Path) -> Path:
    """A snapshot as the hub's own cache lays it out: links to files that are named by their hashes."""
    held = write_source(folder / "download", documents(4), files=2)
    blobs, snapshot = folder / "datasets--org--name/blobs", folder / "datasets--org--name/snapshots/1/data"
    blobs.mkdir(parents=True)
    snapshot.mkdir(parents=True)
    for number, file in enumerate(parquet_at(held)):
        Path(str(file)).rename(blobs / f"{number}")
        (snapshot / f"{number}.parquet").symlink_to(f"../../../blobs/{number}")
    return folder / "datasets--org--name"


def test_files_behind_links_are_read_once(tmp_path: Path) -> None:
    cache = hub_cache(tmp_path)
    shutil.copytree(cache / "snapshots/1", cache / "snapshots/2", symlinks=True)
    write_source(cache / "more", documents(2), files=1)
    assert len(list(list_entries(parquet_files(cache / "snapshots/1"), cache / "snapshots/1"))) == 12
    assert len(list(list_entries(parquet_files(cache), cache))) == 12 + 6


def test_folders_behind_links_are_read_once_and_circles_end(tmp_path: Path) -> None:
    held = write_source(tmp_path / "disk", documents(4), files=2)
    source = tmp_path / "source"
    source.mkdir()
    (held / "data/circle").symlink_to(held)
    (source / "a").symlink_to(held)
    (source / "b").symlink_to(held / "data")
    (source / "up").symlink_to(tmp_path)  # a folder above the source would lead to everything beside it
    assert [Path(str(file)).relative_to(source).as_posix() for file in parquet_at(source)] == [
        f"a/data/train-0000{number}-of-00002.parquet" for number in range(2)
    ]


def test_a_link_to_a_file_that_is_missing_is_named(tmp_path: Path) -> None:
    cache = hub_cache(tmp_path)
    (cache / "blobs/1").unlink()
    with pytest.raises(CorpusError, match=r"1.parquet is a link to a file that is missing; fetch it again, or remove the link"):
        parquet_at(cache)
