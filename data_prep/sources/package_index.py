"""Pinned packages from a package index (PEP 503, PEP 691): downloaded, verified by hash, cached. No code of them is run."""

import configparser
import contextlib
import hashlib
import io
import os
import re
import ssl
import sys
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import Path
from typing import IO
from urllib.parse import unquote, urljoin, urlsplit

import httpx
from pydantic import BaseModel, ConfigDict

from codenas.errors import ConfigError, ResourceError
from codenas.files import atomic_file, read_user_text, sha256_file
from codenas.http_client import http_client
from codenas.log import LOGGER

LARGEST = 500_000_000  # bytes of a package
_LARGEST_PAGE = 100_000_000  # bytes of a page of the index; it is held in memory
_DEFAULT_INDEX = "https://pypi.org/simple"
_ACCEPT = "application/vnd.pypi.simple.v1+json, text/html;q=0.5"
_ATTEMPTS = 3
_AT_A_TIME = 4
_SECONDS = 60.0
_PIN = re.compile(r"(?P<name>[A-Za-z0-9](?:[\w.-]*[A-Za-z0-9])?)==(?P<version>[\w.!+-]+)\s+--hash=sha256:(?P<sha256>[0-9a-f]{64})")
_FILE = re.compile(r"[\w.!+-]+\.(?:whl|zip|tar\.gz|tgz)")


@dataclass(frozen=True, slots=True)
class Pin:
    """One file of one package."""

    name: str
    version: str
    sha256: str

    def __str__(self) -> str:
        return f"{self.name} {self.version}"


def read_pins(path: Path) -> list[Pin]:
    """The packages of a list, one per line in the format of pip: `name==version --hash=sha256:...`; comments begin with #.

    Raises:
        ConfigError: the file cannot be read, is empty, or has a line in another format (its number is in the message).
    """
    try:
        lines = read_user_text(path).split("\n")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise ConfigError(f"the list of packages {path} cannot be read: {reason}; name a file that exists") from None
    pins: dict[str, Pin] = {}
    for number, line in enumerate(lines, start=1):
        if not (text := line.partition("#")[0].strip()):
            continue
        match = _PIN.fullmatch(text)
        if match is None:
            raise ConfigError(f"{path}, line {number}: {text!r} is not a pinned package; write name==version --hash=sha256:HEX")
        name = normalised(match["name"])
        if name in pins:
            raise ConfigError(f"{path}, line {number}: {name} is listed twice; keep one version of it")
        pins[name] = Pin(name, match["version"], match["sha256"])
    if not pins:
        raise ConfigError(f"the list of packages {path} is empty; each line is name==version --hash=sha256:HEX")
    return list(pins.values())


def normalised(name: str) -> str:
    """The normalised name of a package (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


def fetch(pins: Iterable[Pin], cache: Path) -> dict[Pin, Path]:
    """The files of packages, from the folder `cache` or else from the index that pip uses. A file in the cache is whole or absent.

    Raises:
        ResourceError: a package cannot be downloaded; the others are kept.
        ConfigError: the index in pip's settings is not an http address.
    """
    wanted = list(pins)
    held = {pin: path for pin in wanted if (path := _cached(pin, cache))}
    missing = [pin for pin in wanted if pin not in held]
    if not missing:
        return held
    LOGGER.info(f"packages: {len(missing)} of {len(wanted)} to fetch")
    with _client() as client, ThreadPoolExecutor(_AT_A_TIME) as pool:
        tasks = {pin: pool.submit(_fetch, pin, cache, client) for pin in missing}
    failed = [error for task in tasks.values() if (error := task.exception())]
    if failed:
        here = f"{len(wanted) - len(failed)} of {len(wanted)} packages are here and stay"
        raise failed[0] if not isinstance(failed[0], ResourceError) else ResourceError(f"{failed[0]}; {here}")
    return held | {pin: task.result() for pin, task in tasks.items()}


def default_cache() -> Path:
    """The folder where packages are kept between runs."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "codenas" / "packages"


def pip_setting(name: str, environment: Mapping[str, str] = os.environ) -> str | None:
    """A setting of pip: from PIP_..., or from its files, where a later one takes precedence (system, user, this Python)."""
    if value := environment.get(f"PIP_{name.upper().replace('-', '_')}"):
        return value
    home = Path(environment.get("HOME") or Path.home())
    user = Path(environment.get("XDG_CONFIG_HOME") or home / ".config")
    files = [Path("/etc/pip.conf"), home / ".pip/pip.conf", user / "pip/pip.conf", Path(sys.prefix) / "pip.conf"]
    if named := environment.get("PIP_CONFIG_FILE"):
        files = [Path(named)]
    settings = configparser.ConfigParser(interpolation=None)
    with contextlib.suppress(configparser.Error, UnicodeDecodeError):  # pip itself reports what is wrong with them
        settings.read(files, encoding="utf-8-sig")
    return settings.get("global", name, fallback=None)


def _client() -> httpx.Client:
    certificate = pip_setting("cert")
    verify = ssl.create_default_context(cafile=certificate) if certificate else True
    return http_client(pip_setting("index-url") or _DEFAULT_INDEX, verify=verify, follow_redirects=True, timeout=_SECONDS)


def _cached(pin: Pin, cache: Path) -> Path | None:
    for path in sorted(cache.glob(f"{pin.sha256}-*")):
        if sha256_file(path) == pin.sha256:
            return path
        path.unlink()  # it was modified
    return None


def _fetch(pin: Pin, cache: Path, client: httpx.Client) -> Path:
    url = _url_of(pin, client)
    name = unquote(urlsplit(url).path).rpartition("/")[2]
    if not _FILE.fullmatch(name):
        raise _not_fetched(pin, f"the index calls it {name!r}, which is no wheel or source distribution")
    path = cache / f"{pin.sha256}-{name}"
    with atomic_file(path) as file:
        found = _download(pin, url, client, file, LARGEST)
        if found != pin.sha256:
            raise _not_fetched(pin, f"its SHA-256 is {found[:12]}... and the list has {pin.sha256[:12]}...")
    LOGGER.info(f"packages: {pin}, {path.stat().st_size / 1e6:.1f} MB")
    return path


def _url_of(pin: Pin, client: httpx.Client) -> str:
    index = pip_setting("index-url") or _DEFAULT_INDEX
    if not index.startswith(("https://", "http://")):
        raise ConfigError("pip's index-url is no http address, and no other can be asked; set PIP_INDEX_URL")
    page = f"{index.rstrip('/')}/{pin.name}/"
    content = io.BytesIO()
    _download(pin, page, client, content, _LARGEST_PAGE)
    for address, sha256 in _listed(content.getvalue()):
        if sha256 == pin.sha256:
            return urljoin(page, address)
    raise _not_fetched(pin, f"the index has no file with the SHA-256 {pin.sha256[:12]}... (withdrawn, or the list is wrong)")


def _listed(page: bytes) -> Iterator[tuple[str, str]]:
    """Addresses and hashes of the files on a page of an index, in JSON or HTML."""
    if page.lstrip().startswith(b"{"):
        try:
            listed = _JsonPage.model_validate_json(page)
        except ValueError:
            return
        yield from ((file.url, file.hashes.get("sha256", "")) for file in listed.files)
        return
    links = _Links()
    links.feed(page.decode(errors="replace"))
    for link in links.found:
        address, _, fragment = link.partition("#")
        yield address, fragment.removeprefix("sha256=")


class _JsonFile(BaseModel):
    model_config = ConfigDict(extra="ignore")
    url: str
    hashes: dict[str, str] = {}


class _JsonPage(BaseModel):
    model_config = ConfigDict(extra="ignore")
    files: list[_JsonFile]


class _Links(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found += [value for name, value in attrs if tag == "a" and name == "href" and value]


def _download(pin: Pin, url: str, client: httpx.Client, sink: IO[bytes], largest: int) -> str:
    """Write the content of `url` to `sink` as it arrives; a broken connection restarts the download.

    Returns:
        Its SHA-256.
    """
    for left in reversed(range(_ATTEMPTS)):
        sink.seek(0)
        sink.truncate()
        digest, size = hashlib.sha256(), 0
        try:
            with client.stream("GET", url, headers={"Accept": _ACCEPT}) as answer:
                answer.raise_for_status()
                for piece in answer.iter_bytes():
                    size += len(piece)
                    if size > largest:
                        raise _not_fetched(pin, f"it is larger than {largest / 1e6:,.0f} MB")
                    digest.update(piece)
                    sink.write(piece)
            return digest.hexdigest()
        except httpx.HTTPStatusError as error:  # its message has the address, and an address may have a password
            code = error.response.status_code
            if code < 500 or not left:
                raise _not_fetched(pin, f"the index answers {code}") from None
        except httpx.HTTPError as error:
            if not left:
                raise _not_fetched(pin, f"no connection to the index ({type(error).__name__})") from None
    raise AssertionError  # the last attempt returns or raises


def _not_fetched(pin: Pin, reason: str) -> ResourceError:
    way_out = "check the network and pip's index (PIP_INDEX_URL), and run the same command again"
    return ResourceError(f"the package {pin} cannot be fetched: {reason}; {way_out}")
