"""Object storage by URL, in a bucket or a folder: writes are atomic, and network errors are one line."""

import contextlib
import logging
import os
import re
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path, PurePosixPath
from typing import TypeVar
from urllib.parse import quote, urlsplit

import pyarrow as pa
from pyarrow import fs

from codenas.errors import ConfigError, ResourceError
from codenas.files import readable_disk_errors

LOGGER = logging.getLogger("codenas")

PAUSES_S = (1.0, 4.0)  # before the second and the third attempt; the clients of S3 and Google also retry by themselves
_BLOCK_BYTES = 8_000_000
_KNOWN = "s3://BUCKET/FOLDER, gs://BUCKET/FOLDER and file:///FOLDER"
_ACCESS_DENIED = ("ACCESS_DENIED", "INVALID_ACCESS_KEY", "SIGNATURE_DOES_NOT", "EXPIRED_TOKEN", "permission", "credentials", "access token")
_NO_BUCKET = ("NO_SUCH_BUCKET", "' not found", "bucket does not exist")
_CREDENTIALS = {  # by URL scheme: how to get access
    "s3": "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY in the environment",
    "gs": "set GOOGLE_APPLICATION_CREDENTIALS in the environment",
    "file": "correct its permissions",
}
_Result = TypeVar("_Result")


class Objects:
    """The objects below `url`, by name. Credentials and regions come from the environment, as for the command lines of S3 and Google.

    Every method raises:
        ResourceError: the bucket does not exist, access is denied, or it cannot be reached after several attempts.

    Raises:
        ConfigError: the scheme of `url` is not supported, or it contains a key.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        require_known(url)
        try:
            self._files, self._root = self._retried(lambda: fs.FileSystem.from_uri(_with_options(url)))
        except pa.ArrowInvalid as error:
            raise ConfigError(f"--mirror {url} is no valid URL ({_reason(error)}); supported are {_KNOWN}") from error

    def __str__(self) -> str:
        return self.url.partition("?")[0]

    def read(self, name: str) -> bytes | None:
        """The content of object `name`; None if it does not exist."""

        def read_all() -> bytes | None:
            with contextlib.suppress(FileNotFoundError), self._files.open_input_stream(self._place(name)) as stream:
                content: bytes = stream.read()
                return content
            return None

        return self._retried(read_all)

    def write(self, name: str, content: bytes) -> None:
        """Write object `name` atomically."""
        self._retried(lambda: self._write(name, [content]))

    def upload(self, name: str, file: Path) -> None:
        """Write object `name` atomically from `file`."""
        self._retried(lambda: self._write(name, _blocks(file)))

    def download(self, name: str, file: Path) -> None:
        """Download object `name` to `file`."""

        def copy() -> None:
            with readable_disk_errors(file), self._files.open_input_stream(self._place(name)) as stream, file.open("wb") as target:
                while block := stream.read(_BLOCK_BYTES):
                    target.write(block)

        self._retried(copy)

    def names(self, folder: str) -> set[str]:
        """The names of objects and folders in `folder`, without its path."""
        chosen = fs.FileSelector(self._place(folder), recursive=False, allow_not_found=True)
        return {found.base_name for found in self._retried(lambda: self._files.get_file_info(chosen))}

    def remove(self, name: str) -> None:
        """Remove object `name` if it exists."""

        def delete() -> None:
            with contextlib.suppress(FileNotFoundError):
                self._files.delete_file(self._place(name))

        self._retried(delete)

    def _place(self, name: str) -> str:
        return str(PurePosixPath(self._root, name))

    def _write(self, name: str, blocks: Iterable[bytes]) -> None:
        place = target = self._place(name)
        if self._in_folder:  # unlike an object, a file is visible before it is complete
            self._files.create_dir(str(PurePosixPath(place).parent), recursive=True)
            target = f"{place}.new"
        with self._files.open_output_stream(target) as stream:
            for block in blocks:
                stream.write(block)
        if self._in_folder:
            self._files.move(target, place)

    @property
    def _in_folder(self) -> bool:
        return self.url.startswith("file:")

    def _retried(self, action: Callable[[], _Result]) -> _Result:
        """Run `action`, with retries unless the error is permanent."""
        pauses = iter(PAUSES_S)
        while True:
            try:
                return action()
            except OSError as error:
                pause = next(pauses, None)
                if pause is None or _mentions(error, _ACCESS_DENIED + _NO_BUCKET):
                    raise self._as_resource_error(error) from error
                LOGGER.info(f"{self}: {_reason(error)}; retrying in {pause:g} s")
            time.sleep(pause)

    def _as_resource_error(self, error: OSError) -> ResourceError:
        if _mentions(error, _NO_BUCKET):
            return ResourceError(f"there is no bucket for {self}; create it, or correct the URL")
        if _mentions(error, _ACCESS_DENIED):
            return ResourceError(f"access to {self} is denied ({_reason(error)}); {_CREDENTIALS[self.url.partition(':')[0]]}")
        return ResourceError(
            f"{self} cannot be reached ({_reason(error)}); nothing is lost here: correct that and run the same command again"
        )


def require_known(url: str) -> None:
    """Check that the scheme of `url` is supported and that it contains no key, without a request.

    Raises:
        ConfigError: it does not.
    """
    try:
        parts = urlsplit(url)
    except ValueError as error:
        raise ConfigError(f"--mirror {url} is no URL ({error}); known are {_KNOWN}") from error
    if parts.scheme not in _CREDENTIALS or not (parts.netloc or parts.path.strip("/")):
        raise ConfigError(f"--mirror {url} is not supported; supported are {_KNOWN}")
    if parts.password is not None or "secret_key" in parts.query:
        raise ConfigError(
            "--mirror contains a key, which would be stored; set it in the environment instead (AWS_ACCESS_KEY_ID and its secret)"
        )


def _with_options(url: str) -> str:
    """`url` with options that Arrow does not read itself: the endpoint, and for Google a timeout below 15 minutes."""
    endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
    known = {"s3": ("endpoint_override", quote(endpoint or "", safe=":/")), "gs": ("retry_limit_seconds", "20")}
    option, value = known.get(url.partition(":")[0], ("", ""))
    return f"{url}{'&' if '?' in url else '?'}{option}={value}" if value and f"{option}=" not in url else url


def _blocks(file: Path) -> Iterator[bytes]:
    with file.open("rb") as source:
        while block := source.read(_BLOCK_BYTES):
            yield block


def _mentions(error: Exception, signs: Iterable[str]) -> bool:
    return any(sign.lower() in str(error).lower() for sign in signs)


def _reason(error: Exception) -> str:
    """The relevant part of a message of Arrow's, which describes operations and paths at length."""
    found = re.search(r"AWS Error (\w+(?: \(HTTP status \d+\))?)|with a last message of (.+?)(?:\.\s| error_info)", str(error))
    return (found[1] or found[2]) if found else (str(error).strip() or type(error).__name__).splitlines()[0][:160]
