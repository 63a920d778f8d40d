"""What is redacted and what is kept; every secret here is made up."""

import ast
import random
import string
import sysconfig
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_prep.rules.redact import ADDRESS, EMAIL, KEY, redact

LETTERS = string.ascii_letters + string.digits


def drawn(length: int, letters: str = LETTERS, seed: int = 0) -> str:
    """Made-up key material: no form of a key stands in this file as it is."""
    return "".join(random.Random(seed).choices(letters, k=length))


FOUND = [  # kind, text with the value in {}, the value
    (EMAIL, "# by Ann <{}>", "ann.b+c@some-mail.co.uk"),
    (EMAIL, "'first\\n{}'", "ann@mail.org"),
    (EMAIL, "'https://user:{}/x'", "password@host.net"),
    (EMAIL, "'''\n{}.\n'''", "A_N@MAIL.ORG"),
    (ADDRESS, "'{}'", "123.45.67.89"),
    (ADDRESS, "'http://{}:80/'", "52.20.1.100"),
    (ADDRESS, "'host={}'", "99.100.101.102"),
    (ADDRESS, "# at {}.", "217.160.0.201"),
    (ADDRESS, "'{}'", "2a00:1450:4001:81b::200e"),
    (ADDRESS, "'[{}]:80'", "2003:0:0:0:0:0:0:1"),
    (KEY, "'{}'", "AKIA" + drawn(16, string.ascii_uppercase)),
    (KEY, "'{}'", "ASIA" + drawn(16, string.ascii_uppercase)),
    (KEY, "'https://{}@host'", "ghp_" + drawn(36)),
    (KEY, "'{}'", "ghs_" + drawn(36)),
    (KEY, "'{}'", "github_pat_" + drawn(22) + "_" + drawn(59)),
    (KEY, "'{}'", "glpat-" + drawn(20)),
    (KEY, "'{}'", "xoxb-" + drawn(12, string.digits) + "-" + drawn(24)),
    (KEY, "'https://hooks.slack.com/services/{}'", "T" + drawn(9) + "/B" + drawn(9) + "/" + drawn(24)),
    (KEY, "'{}'", "sk_live_" + drawn(24)),
    (KEY, "'{}'", "AIza" + drawn(35)),
    (KEY, "'{}'", "ya29." + drawn(40)),
    (KEY, "'{}'", "sk-proj-" + drawn(48)),
    (KEY, "'{}'", "hf_" + drawn(34, string.ascii_letters)),
    (KEY, "'{}'", "npm_" + drawn(36)),
    (KEY, "'{}'", "pypi-AgE" + drawn(60)),
    (KEY, "'{}'", "SG." + drawn(22) + "." + drawn(43)),
    (KEY, "'Bearer {}'", "eyJ" + drawn(20) + ".eyJ" + drawn(30) + "." + drawn(30)),
    (KEY, "api_key = '{}'", drawn(24)),
    (KEY, "config['auth-token'] = b'{}'", drawn(24)),
    (KEY, '{{"client_secret": "{}"}}', drawn(40, "0123456789abcdef")),
]


@pytest.mark.parametrize(("kind", "frame", "value"), FOUND)
@pytest.mark.parametrize("language", ["Python", "Go"])
def test_what_is_somebodys_is_replaced(kind: str, frame: str, value: str, language: str) -> None:
    text = frame.format(value)
    done = redact(text, language)
    assert done.counts == {kind: 1}
    assert value not in done.text and len(frame.format("")) < len(done.text)
    ast.parse(done.text)


@pytest.mark.parametrize(
    "text",
    [
        "'ann@example.com', 'ann@mail.example', 'root@localhost'",
        "'git@github.com:owner/project.git', 'icon@2x.png', 'lodash@4.17.21.tgz'",
        "'%s@mail.org' % name, f'{name}@mail.org'",
        "scores = q@k.transpose(0, 1)\n",
        "scores = q@k.mT\n",
        "@app.route\ndef f(): ...",
        "'10.1.2.3', '127.0.0.1', '192.168.0.1', '172.16.5.4', '169.254.1.1', '0.0.0.0', '255.255.255.0', '224.0.0.1'",
        "'8.8.8.8', '1.1.1.1', '9.9.9.9', '2001:4860:4860::8888', '2606:4700:4700:0::1111'",
        "'fe80::1', '::1', 'fc00::1', '2001:db8::1'",
        "x[2000::10], x[::2]",
        "'51.0.0.0/8', '2a00::/12'",
        "version = '91.0.44.124'\n",
        "oid = '25.50.29.15'\n",
        "'package==10.20.30.40', 'Chrome/91.0.44.124', 'v10.20.30.40', 'tool-10.20.30.40.zip', '1.36.11.5.57'",
        "'256.100.100.100', '1.2.3.4', '2024:01:02'",
        "class_name = 'sk-toggleable__label-arrow-container-of-things'",
        f"digest = '{drawn(40, '0123456789abcdef')}'",
        "secret_name = 'the_name_of_the_secret_value'",
        "password = 'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa'",
        f"token = '{drawn(19)}'",
        "token = read_token('ABCdef0123456789ABCdef0123')",
    ],
)
def test_what_is_nobodys_is_kept(text: str) -> None:
    assert redact(text, "Python").text == text
    assert redact(text, "Python").counts == {}


def test_a_value_has_one_replacement_in_a_file_and_others_have_others() -> None:
    text = "# a@mail.org, B@mail.org, A@mail.org\n# 99.1.2.3 then 99.1.2.30 then 99.1.2.3, and 2a00:1::1 is 2a00:1:0::1\n"
    done = redact(text, "Python")
    assert done.text == (
        "# user1@example.com, user2@example.com, user1@example.com\n"
        "# 192.0.2.1 then 192.0.2.2 then 192.0.2.1, and 2001:db8::3 is 2001:db8::3\n"
    )
    assert done.counts == {EMAIL: 3, ADDRESS: 5}


def test_there_are_addresses_for_every_file() -> None:
    values = [f"99.{number // 200}.{number % 200}.77" for number in range(600)]
    replaced = redact("\n".join(values)).text.split("\n")
    assert len(set(replaced)) == 600 and replaced[253:255] == ["192.0.2.254", "198.51.100.1"]


def test_a_private_key_goes_line_by_line_and_the_code_around_it_stays() -> None:
    lines = [drawn(64, seed=number) for number in range(3)]
    block = "-----BEGIN RSA PRIVATE KEY-----\n{}\n-----END RSA PRIVATE KEY-----"
    escaped = "'" + block.format("\n".join(lines)).replace("\n", "\\n") + "'"
    parts = "(" + "\n".join(f"'{line}\\n'" for line in block.format("\n".join(lines)).split("\n")) + ")"
    for text in (f"'''{block.format(chr(10).join(lines))}'''", escaped, parts):
        done = redact(text, "Python")
        assert done.counts == {KEY: 3} and done.text.count("REDACTED_KEY_1") == 3
        assert not any(line[4:] in done.text for line in lines)
        assert ast.literal_eval(done.text).startswith("-----BEGIN RSA")
    kept = "'-----BEGIN PRIVATE KEY-----' + the_body_of_the_private_key_here + '-----END PRIVATE KEY-----'"
    assert redact(kept, "Python").text == kept
    assert redact("# -----BEGIN PUBLIC KEY-----\n# " + drawn(64) + "\n# -----END PUBLIC KEY-----", "Python").counts == {}


VALUES = ("ann@mail.org", "99.100.101.102", "2a00:1450::5", "ghp_" + drawn(36), drawn(24), "-----BEGIN PRIVATE KEY-----", "-----END")
SYNTAX = (
    "'",
    '"',
    "'''",
    "\\",
    "\n",
    "#",
    " ",
    "=",
    "(",
    ")",
    "f'",
    "{",
    "}",
    "x",
    "@",
    "token",
    "password=",
    ":",
    "\\n",
    "\\u00e9",
    "+",
    "é",
)
FRAGMENTS = st.sampled_from(VALUES + SYNTAX)


@given(text=st.lists(FRAGMENTS, max_size=14).map("".join))
def test_what_parsed_still_parses_and_twice_is_once(text: str) -> None:
    try:
        compile(text, "", "exec", ast.PyCF_ONLY_AST, dont_inherit=True)
    except (SyntaxError, ValueError):
        return
    done = redact(text, "Python").text
    compile(done, "", "exec", ast.PyCF_ONLY_AST, dont_inherit=True)
    assert redact(done, "Python").text == done


def test_the_standard_library_still_parses() -> None:
    found = 0
    for path in sorted((Path(sysconfig.get_paths()["stdlib"]) / "email").rglob("*.py")):
        text = path.read_text(encoding="utf-8")
        done = redact(text, "Python")
        ast.parse(done.text)
        assert redact(done.text, "Python").text == done.text
        assert done.text.count("\n") == text.count("\n")
        found += done.counts[EMAIL]
    assert found > 5
