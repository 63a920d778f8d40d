"""The house keeps its rules, and each rule can fail."""

from pathlib import Path
from statistics import median, quantiles

import pytest

from tests.architecture.rules import RULES, Rule, budgets, cycles, floors, libraries, requests, statements
from tests.architecture.source import Module, length, modules_of

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def product() -> list[Module]:
    """All modules, which keep their trees: to parse them takes longer than any rule."""
    return modules_of(ROOT)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_the_house_keeps_the_rule(rule: Rule, product: list[Module]) -> None:
    assert len(product) > 10, "the walk found no product code"
    assert list(rule(product)) == []


def test_most_files_and_functions_are_short(product: list[Module]) -> None:
    lengths = [length(function) for module in product for function in module.functions]
    assert median(module.text.count("\n") for module in product) <= 150
    assert median(lengths) <= 12
    assert quantiles(lengths, n=10)[-1] <= 40


def house(root: Path, files: dict[str, str]) -> list[str]:
    """Write a little house and return what all rules say about it."""
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return [complaint for rule in RULES for complaint in rule(modules_of(root))]


CLEAN = {
    "codenas/__init__.py": '"""The root."""\n',
    "codenas/errors.py": "import json\n",
    "codenas/files.py": "from codenas.errors import Broken\n",
    "codenas/arch/spec.py": "import codenas.errors\nimport pydantic\n",
    "codenas/arch/space.py": "from codenas.arch import spec\n",
    "codenas/model/net.py": "import torch\nfrom codenas.arch.spec import Spec\n",
    "codenas/report/plots.py": "import matplotlib\n",
    "tune_jobs/launch.py": "import ray\nfrom codenas.model.net import Net\n",
    "serve/app.py": "from ray import serve as ray_serve\nimport fastapi\n",
    "codenas/cli/search.py": "def run():\n    import ray\n    import torch\n    from tune_jobs.launch import go\n",
}

FAULTS: dict[str, tuple[Rule, dict[str, str], str]] = {
    "upward": (floors, {"codenas/arch/bad.py": "import codenas.model.net"}, "codenas.arch.bad:1 imports codenas.model.net"),
    "upward from": (floors, {"codenas/arch/bad.py": "from codenas.model import net"}, "codenas.model.net, which is not on a lower"),
    "upward in a function": (floors, {"codenas/arch/bad.py": "def f():\n    import tune_jobs.launch"}, "bad:2 imports tune_jobs"),
    "upward by name": (floors, {"codenas/arch/bad.py": "importlib.import_module('serve.app')"}, "bad:1 imports serve.app"),
    "sideways": (floors, {"serve/bad.py": "from tune_jobs.launch import go"}, "serve.bad:1 imports tune_jobs.launch.go"),
    "sideways below": (floors, {"codenas/search/bad.py": "from codenas.model.net import Net"}, "codenas.search.bad:1"),
    "the public API below": (floors, {"tune_jobs/bad.py": "import codenas"}, "tune_jobs.bad:1 imports codenas"),
    "no floor": (floors, {"codenas/utils.py": ""}, "codenas.utils has no floor"),
    "ground imports up": (floors, {"codenas/log.py": "import codenas.arch.spec"}, "codenas.log:1"),
    "cycle": (
        cycles,
        {"codenas/arch/a.py": "import codenas.arch.b", "codenas/arch/b.py": "from codenas.arch.a import x"},
        "codenas.arch.a <- codenas.arch.b",
    ),
    "cycle in functions": (
        cycles,
        {"serve/a.py": "def f():\n    from serve import b", "serve/b.py": "import serve.a"},
        "a cycle of imports",
    ),
    "ray below": (libraries, {"codenas/train/bad.py": "from ray import tune"}, "codenas.train.bad:1 imports ray"),
    "ray in a function": (libraries, {"codenas/train/bad.py": "def f():\n    import ray"}, "codenas.train.bad:2 imports ray"),
    "ray before the command": (libraries, {"codenas/cli/bad.py": "import ray.tune"}, "codenas.cli.bad:1 imports ray"),
    "fastapi outside": (libraries, {"tune_jobs/bad.py": "import fastapi"}, "only serve may"),
    "plots outside": (libraries, {"codenas/report/bad.py": "import matplotlib.pyplot"}, "codenas.report.bad:1 imports matplotlib"),
    "a second optuna": (libraries, {"codenas/search/bad.py": "import optuna"}, "only codenas.search.strategies.optuna_samplers may"),
    "torch in search": (libraries, {"codenas/search/bad.py": "from torch import nn"}, "imports torch: this floor knows none"),
    "torch in metrics": (libraries, {"codenas/metrics.py": "import torch"}, "codenas.metrics:1 imports torch"),
    "ground library": (libraries, {"codenas/log.py": "import rich"}, "standard library only"),
    "relative": (statements, {"codenas/arch/bad.py": "from . import spec"}, "codenas.arch.bad:1 imports relatively"),
    "pickle": (statements, {"serve/bad.py": "import pickle"}, "serve.bad:1 imports pickle"),
    "pickle in a command": (statements, {"codenas/cli/bad.py": "def f():\n    from pickle import loads"}, "imports pickle.loads"),
    "torch.load": (statements, {"codenas/train/bad.py": "import torch\ntorch.load('x')"}, "bad:2 uses torch.load"),
    "from torch": (statements, {"codenas/train/bad.py": "from torch import load"}, "imports torch.load"),
    "numpy pickles": (statements, {"codenas/train/bad.py": "numpy.load('x', allow_pickle=True)"}, "bad:1 allows pickles"),
    "unwritten": (statements, {"codenas/train/bad.py": "raise NotImplementedError"}, "bad:1 is not implemented"),
    "a client of its own": (requests, {"serve/bad.py": "import httpx\nhttpx.get('x')"}, "serve.bad:2 calls httpx.get"),
    "another library": (requests, {"serve/bad.py": "from urllib.request import urlopen"}, "serve.bad:1 imports urllib.request.urlopen"),
    "long file": (budgets, {"codenas/train/bad.py": "x = 1\n" * 401}, "codenas.train.bad has 401 lines"),
    "long function": (budgets, {"codenas/train/bad.py": "def f():\n" + "    x = 1\n" * 60}, "codenas.train.bad.f has 61 lines"),
}


def test_a_clean_house_has_no_complaint(tmp_path: Path) -> None:
    assert house(tmp_path, CLEAN) == []


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_caught_by_its_rule_alone(fault: str, tmp_path: Path) -> None:
    rule, files, message = FAULTS[fault]
    complaints = house(tmp_path, CLEAN | files)
    assert len(complaints) == 1 and message in complaints[0]
    assert list(rule(modules_of(tmp_path))) == complaints


def test_budgets_end_where_they_say(tmp_path: Path) -> None:
    inside = {"codenas/train/a.py": "x = 1\n" * 400, "codenas/train/b.py": "def f():\n" + "    x = 1\n" * 59}
    assert house(tmp_path, CLEAN | inside) == []
