"""Redaction of personal data and secrets in source code: e-mail addresses, IP addresses and keys become placeholders.

The same value gets the same placeholder throughout a file. A placeholder has no quote, backslash or line end, and in Python
only strings and comments are changed, so that the code still parses. Redaction is idempotent.
"""

import math
import re
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from ipaddress import IPv6Address, ip_address
from itertools import chain

from data_prep.rules.python_text import TEXT

EMAIL, ADDRESS, KEY = KINDS = ("e-mail", "ip address", "key")

# A value may begin behind an escape that ends a line or a column, and behind no other backslash: what replaces the x of "\x41"
# would be read as another escape.
_START = r"(?:(?<=\\[nrt])|(?<![\w\\.%+/-]))"
_KEY_START = r"(?:(?<=\\[nrt])|(?<![\w\\]))"

_EMAIL_HINT = re.compile(r"@(?<=\w@)[A-Za-z0-9-]+\.[A-Za-z0-9]")
_EMAIL = re.compile(_START + r"[A-Za-z0-9][\w.+-]{0,63}@((?:[A-Za-z0-9-]{1,63}\.){1,8}([A-Za-z]{2,24}))(?![\w(\[-])", re.ASCII)
_RESERVED = re.compile(r"(?:.*\.)?(?:example\.(?:com|net|org|edu)|example|test|invalid|localhost)", re.IGNORECASE)  # RFC 2606
_FILE_EXTENSIONS = {"css", "gif", "html", "jpeg", "jpg", "js", "json", "png", "svg", "tgz", "txt", "webp", "xml"}  # icon@2x.png

_IPV4_HINT = re.compile(r"\.\d{1,3}\.\d{1,3}\.\d")
_OCTET = r"(?:25[0-5]|2[0-4]\d|1\d\d|[1-9]?\d)"
# Behind "==", "/", a letter or a letter and "-" four numbers are a version.
_IPV4 = re.compile(
    r"(?<![=<>~!^]=)(?<![A-Za-z]-)(?:(?<=//)|(?<=\\[nrt])|(?<![\w./\\<>~^+]))" + rf"(?:{_OCTET}\.){{3}}{_OCTET}" + r"(?!\w|\.\w|-[A-Za-z])",
    re.ASCII,
)
_VERSION_NUMBER = re.compile(r"\d\.\d\.\d\.\d{1,3}")
_VERSION = re.compile(r"version|release|section|chapter|oid|objectidentifier", re.IGNORECASE)
_CIDR_SUFFIX = re.compile(r"/\d{1,3}(?![\w/.])")  # of addresses
_IPV6_HINT = re.compile(r"[23][0-9A-Fa-f]{3}:[0-9A-Fa-f]{0,4}:")
_IPV6 = re.compile(_START + r"(?<!:)[23][0-9A-Fa-f]{3}(?::[0-9A-Fa-f]{0,4}){2,7}(?![\w.])", re.ASCII)  # public ones are in 2000::/3
_PUBLIC_DNS = {
    "1.0.0.1", "1.1.1.1", "8.8.4.4", "8.8.8.8", "8.20.247.20", "8.26.56.26", "9.9.9.9", "76.76.2.0", "76.76.10.0", "76.76.19.19",
    "76.223.122.150", "94.140.14.14", "94.140.15.15", "149.112.112.112", "208.67.220.220", "208.67.222.222",
    "2001:4860:4860::8844", "2001:4860:4860::8888", "2606:4700:4700::1001", "2606:4700:4700::1111", "2620:fe::9", "2620:fe::fe",
}  # fmt: skip

# The documented formats of keys, each with a word that must occur in the text: in most files no pattern has to be tried.
_KEY_FORMATS = {
    "AKIA": r"AKIA[0-9A-Z]{16}(?![0-9A-Za-z])",  # Amazon
    "ASIA": r"ASIA[0-9A-Z]{16}(?![0-9A-Za-z])",
    "AIza": r"AIza[\w-]{35}(?![\w-])",  # Google
    "ya29.": r"ya29\.[\w-]{20,}",
    **{prefix: prefix + r"[0-9A-Za-z]{36}(?!\w)" for prefix in ("ghp_", "gho_", "ghu_", "ghs_", "ghr_", "npm_")},  # GitHub, npm
    "github_pat_": r"github_pat_[0-9A-Za-z]{22}_[0-9A-Za-z]{59}(?!\w)",
    "glpat-": r"glpat-[\w-]{20,}",  # GitLab
    "xox": r"xox[abeoprs]-[0-9A-Za-z-]{10,}",  # Slack
    "hooks.slack.com/": r"(?<=hooks\.slack\.com/services/)T\w{8,}/B\w{8,}/\w{20,}",
    "_live_": r"[rs]k_live_[0-9A-Za-z]{24,}",  # Stripe
    "sk-": r"sk-(?=[\w-]*\d)(?=[\w-]*[A-Z])(?=[\w-]*[a-z])[\w-]{32,}",  # OpenAI, Anthropic
    "hf_": r"hf_[A-Za-z]{34}(?!\w)",  # Hugging Face
    "pypi-AgE": r"pypi-AgE[\w-]{50,}",
    "SG.": r"SG\.[\w-]{22}\.[\w-]{43}(?![\w-])",  # SendGrid
    "eyJ": r"eyJ[\w-]{10,}\.eyJ[\w-]{10,}\.[\w-]{10,}",  # a JSON web token
}
_KEYS = {word: re.compile(("" if form.startswith("(?<=") else _KEY_START) + form, re.ASCII) for word, form in _KEY_FORMATS.items()}
_PRIVATE = re.compile(r"-----BEGIN [A-Z0-9 ]*PRIVATE KEY(?: BLOCK)?-----(.{16,16000}?)-----END", re.DOTALL)
_PRIVATE_LINE = re.compile(r"(?:(?<=\\[nrt])|(?<![\w\\+/=]))[A-Za-z0-9+/=]{16,}")
# A quoted value of letters and digits after a name that denotes a secret.
_QUOTED = re.compile(r"[\"']([A-Za-z0-9][A-Za-z0-9+/_-]{18,254}[A-Za-z0-9]={0,2})(?=[\"'])")
_SECRET = re.compile(
    r"(?:secret|token|passw|api_?key|access_?key|private_?key)\w{0,40}[\"']?\]?[ \t]{0,8}[:=][ \t]{0,8}[rb]?$", re.IGNORECASE
)
_CONTEXT_CHARACTERS = 80  # characters before a value in which its name is looked for
_PLACEHOLDER = re.compile(r"redacted_key_\d+", re.IGNORECASE)


@dataclass(slots=True)
class Redacted:
    """A redacted text, and the number of replaced values of each kind."""

    text: str
    counts: Counter[str] = field(default_factory=Counter)


@dataclass(frozen=True, slots=True, order=True)
class _Match:
    start: int
    end: int
    kind: str
    value: str  # two finds with the same value get the same placeholder


def redact(text: str, language: str = "") -> Redacted:
    """Replace e-mail and IP addresses and keys in a file."""
    finds: Iterable[_Match] = sorted(chain(_emails(text), _addresses(text), _keys(text)))
    if finds and language == "Python":
        finds = _in_strings(finds, text)
    done, pieces, position = Redacted(text), [], 0
    names: dict[tuple[str, str], str] = {}
    numbers: Counter[str] = Counter()
    for find in finds:
        if find.start < position:  # overlaps the previous one
            continue
        if (find.kind, find.value) not in names:
            numbers[find.kind] += 1
            names[find.kind, find.value] = _replacement(find, numbers[find.kind])
        pieces += [text[position : find.start], names[find.kind, find.value]]
        position = find.end
        done.counts[find.kind] += 1
    if pieces:
        done.text = "".join((*pieces, text[position:]))
    return done


def _replacement(find: _Match, number: int) -> str:
    """The placeholder of the `number`-th value of its kind: names and addresses reserved for documentation."""
    if find.kind == EMAIL:
        return f"user{number}@example.com"  # RFC 2606
    if find.kind == KEY:
        return f"REDACTED_KEY_{number}"
    if ":" in find.value:
        return f"2001:db8::{number:x}"  # RFC 3849
    block, last = divmod((number - 1) % 762, 254)
    return f"{('192.0.2', '198.51.100', '203.0.113')[block]}.{last + 1}"  # RFC 5737


def _in_strings(finds: Iterable[_Match], text: str) -> Iterator[_Match]:
    """The finds in strings and comments: `q@k.mT` is a product, `x[2000::2]` a slice."""
    spans = [match.span() for match in TEXT.finditer(text)]
    starts = [start for start, _ in spans]
    for find in finds:
        before = bisect_right(starts, find.start) - 1
        if before >= 0 and find.end <= spans[before][1]:
            yield find


def _emails(text: str) -> Iterator[_Match]:
    if not _EMAIL_HINT.search(text):
        return
    for match in _EMAIL.finditer(text):
        domain, ending = match.groups()
        if not (_RESERVED.fullmatch(domain) or ending.lower() in _FILE_EXTENSIONS or match[0].startswith("git@")):  # git@host is a protocol
            yield _Match(*match.span(), EMAIL, match[0].lower())


def _addresses(text: str) -> Iterator[_Match]:
    if _IPV4_HINT.search(text):
        for match in _IPV4.finditer(text):
            if _is_personal(match[0]) and not (_is_version(match) or _CIDR_SUFFIX.match(text, match.end())):
                yield _Match(*match.span(), ADDRESS, match[0])
    if _IPV6_HINT.search(text):
        for match in _IPV6.finditer(text):
            value = match[0] if match[0].endswith("::") else match[0].removesuffix(":")
            end = match.start() + len(value)
            if _is_ipv6(value) and _is_personal(value) and not _CIDR_SUFFIX.match(text, end):
                yield _Match(match.start(), end, ADDRESS, str(ip_address(value)))


def _is_ipv6(value: str) -> bool:
    try:
        return bool(IPv6Address(value))
    except ValueError:
        return False


def _is_personal(value: str) -> bool:
    """Whether an address is public and not that of a well-known name server."""
    address = ip_address(value)
    return address.is_global and not address.is_multicast and str(address) not in _PUBLIC_DNS


def _is_version(match: re.Match[str]) -> bool:
    """Whether the numbers are small, or the line is about versions, sections or object identifiers."""
    if _VERSION_NUMBER.fullmatch(match[0]):
        return True
    start, end = match.string.rfind("\n", 0, match.start()) + 1, match.string.find("\n", match.end())
    return _VERSION.search(match.string, start, end if end >= 0 else len(match.string)) is not None


def _keys(text: str) -> Iterator[_Match]:
    for word, form in _KEYS.items():
        if word in text:
            yield from (_Match(*match.span(), KEY, match[0]) for match in form.finditer(text))
    if "PRIVATE KEY" in text:
        for block in _PRIVATE.finditer(text):
            for line in _PRIVATE_LINE.finditer(text, *block.span(1)):
                yield _Match(*line.span(), KEY, block[1])
    for match in _QUOTED.finditer(text):
        if _looks_random(match[1]) and _SECRET.search(text, max(0, match.start() - _CONTEXT_CHARACTERS), match.start()):
            yield _Match(*match.span(1), KEY, match[1])


def _looks_random(value: str) -> bool:
    """Whether a value looks random: hexadecimal, or a mixture of capitals, small letters and digits with high entropy."""
    if _PLACEHOLDER.fullmatch(value):
        return False
    counts = Counter(value)
    entropy = -sum(count / len(value) * math.log2(count / len(value)) for count in counts.values())
    if re.fullmatch(r"[0-9a-f]{32,}|[0-9A-F]{32,}", value):
        return entropy > 3
    return entropy > 3.5 and all(re.search(kind, value) for kind in ("[a-z]", "[A-Z]", "[0-9]"))
