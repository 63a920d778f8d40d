"""Every option with every other: pairs are drawn, and each ends in a result or in one line and exit code 2. Never in a traceback.

`make test-options N=500 SEED=1` draws more of them, or others. What a case prints if it fails, can be run as it stands.
"""

import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.options.cases import NEED_A_CLUSTER, draw_case, outcome
from tests.options.declared import Command, commands
from tests.options.world import copied, names, state_of


@pytest.mark.usefixtures("here")
@pytest.mark.timeout(0)  # each case has its own
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # an interrupt may hit a finalizer
@pytest.mark.parametrize("command", commands(), ids=lambda command: command.name)
def test_pairs_end_in_a_result_or_in_one_line(
    command: Command,
    world: Path,
    places: dict[str, str],
    tmp_path: Path,
    request: pytest.FixtureRequest,
    record_property: Callable[[str, object], None],
) -> None:
    wanted, seed = request.config.getoption("--pairs"), request.config.getoption("--pairs-seed")
    found, failures, lying, folder = Counter[str](), dict[str, str](), names(world), tmp_path / "case"
    for number in range(wanted):
        untouched = copied(world, folder)
        case = draw_case(command, number, seed, lying, places)
        kind, wrong = outcome(case, folder)
        found[kind] += 1
        if number == 0 and command.name not in NEED_A_CLUSTER and kind != "result":
            wrong = wrong or "as it is meant it gives no result"
        if wrong:
            failures.setdefault(wrong.partition("(")[2] or wrong, f"{case}\n    {wrong}")
        if state_of(folder) != untouched:
            shutil.rmtree(folder)
    summary = ", ".join(f"{count} {kind}" for kind, count in sorted(found.items()))
    record_property("pairs", f"{command.name}: {wanted} pairs, {summary}")
    assert not failures, "\n".join([f"{command.name}: {wanted} pairs, {summary}", *failures.values()])
