"""`python docker/requirements.py EXTRA ...`: print the requirements of CodeNAS and of extras of it, one a line, from pyproject.toml."""

import sys
import tomllib
from pathlib import Path

project = tomllib.loads(Path("pyproject.toml").read_text(encoding="utf-8"))["project"]
found = [*project["dependencies"], *(each for extra in sys.argv[1:] for each in project["optional-dependencies"][extra])]
sys.stdout.write("".join(f"{each}\n" for each in found))
