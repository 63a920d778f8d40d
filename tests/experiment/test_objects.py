"""Objects behind a URL: in a folder and in a bucket the same, and every fault of the place one line."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from codenas.errors import ConfigError, ResourceError
from codenas.experiment import objects
from codenas.experiment.objects import Objects
from tests.stores import Bucket, give_keys, s3


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[Bucket]:
    """A bucket, and the keys to it."""
    give_keys(monkeypatch)
    with s3() as held:
        yield held


@pytest.fixture(params=["file", "s3"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Objects:
    return Objects((tmp_path / "store").as_uri() if request.param == "file" else request.getfixturevalue("bucket").url)


def test_what_is_written_is_read(store: Objects, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert store.read("a/one") is None and store.names("a") == set()
    store.write("a/one", b"1")
    store.write("a/one", b"2")
    (tmp_path / "large").write_bytes(bytes(range(256)) * 40_000)
    store.upload("a/large", tmp_path / "large")
    store.write("a/deeper/two", b"")
    assert store.read("a/one") == b"2"
    assert store.names("a") == {"one", "large", "deeper"}
    store.download("a/large", tmp_path / "back")
    assert (tmp_path / "back").read_bytes() == (tmp_path / "large").read_bytes()
    for _ in range(2):
        store.remove("a/one")
    assert store.read("a/one") is None and store.names("a") == {"large", "deeper"}
    monkeypatch.setattr(objects, "PAUSES_S", (0.0, 0.0))
    with pytest.raises(ResourceError, match="cannot be reached"):
        store.download("a/one", tmp_path / "back")


class Flaky:
    """A file system whose first calls fail."""

    def __init__(self, inner: Any, faults: int) -> None:
        self._inner, self.faults = inner, faults

    def __getattr__(self, name: str) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            if self.faults:
                self.faults -= 1
                raise OSError("When doing something: AWS Error NETWORK_CONNECTION during PutObject operation: curlCode: 7, no")
            return getattr(self._inner, name)(*arguments, **options)

        return call


@pytest.mark.parametrize("faults", [1, 2])
def test_requests_are_retried_after_network_errors(faults: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(objects, "PAUSES_S", (0.0, 0.0))
    store = Objects(tmp_path.as_uri())
    flaky = Flaky(store._files, faults)
    monkeypatch.setattr(store, "_files", flaky)
    store.write("one", b"1")
    flaky.faults = faults
    assert store.read("one") == b"1"
    flaky.faults = faults
    assert store.names("") == {"one"}


def test_a_network_that_continues_failing_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(objects, "PAUSES_S", (0.0, 0.0))
    store = Objects(tmp_path.as_uri())
    monkeypatch.setattr(store, "_files", Flaky(store._files, 3))
    with pytest.raises(
        ResourceError, match=r"cannot be reached \(NETWORK_CONNECTION\); nothing is lost here: correct that and run the same"
    ):
        store.write("one", b"1")


def test_a_bucket_that_is_not_there_is_one_line(bucket: Bucket) -> None:
    store = Objects(bucket.url.replace("bucket", "another"))
    with pytest.raises(ResourceError, match="there is no bucket for s3://another/mine; create it, or correct the URL"):
        store.write("one", b"1")


def test_a_bucket_without_a_key_is_one_line(bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_CONFIG_FILE", "none")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "none")
    with pytest.raises(
        ResourceError, match=r"access to s3://bucket/mine is denied \(ACCESS_DENIED\); set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY in"
    ):
        Objects(bucket.url).write("one", b"1")


def test_the_server_is_that_of_the_environment(bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    url, _, endpoint = bucket.url.partition("?endpoint_override=")
    monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
    Objects(url).write("one", b"1")
    assert bucket.objects == {"mine/one": b"1"}


@pytest.mark.parametrize("url", ["ftp://a/b", "runs/mine", "/runs/mine", "s3://", "s3:bucket", "file://", "", "http://127.0.0.1/x"])
def test_a_place_of_an_unknown_kind_is_refused(url: str) -> None:
    with pytest.raises(ConfigError, match="supported are s3://BUCKET/FOLDER, gs://BUCKET/FOLDER and file:///FOLDER"):
        Objects(url)


@pytest.mark.parametrize("url", ["file://relative/x", "s3://bucket/with blank"])
def test_a_url_that_cannot_be_read_is_refused(url: str) -> None:
    with pytest.raises(ConfigError, match="is no valid URL"):
        Objects(url)


@pytest.mark.parametrize("url", ["s3://KEY:SECRET@bucket/mine", "s3://bucket/mine?secret_key=SECRET"])
def test_a_key_in_a_url_is_refused_and_not_told(url: str) -> None:
    with pytest.raises(ConfigError, match="--mirror contains a key") as caught:
        Objects(url)
    assert "SECRET" not in str(caught.value)
