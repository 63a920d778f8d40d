"""The limit that an error offers is one that the nearest design really satisfies, whichever way the limit points."""

import pytest

from codenas.arch import Design, SearchSpace
from codenas.errors import BudgetError
from codenas.metrics import Direction, Metrics
from codenas.search.fitness import Objective
from codenas.search.limits import require_reachable
from codenas.search.static_metrics import StaticMetrics, VocabularySize
from tests.fakes import tiny_arch


@pytest.mark.parametrize(("direction", "limit"), [("minimize", 1_000.0), ("maximize", 9e9)])
def test_the_limit_that_is_offered_is_satisfied(direction: Direction, limit: float) -> None:
    space, static_metrics = SearchSpace(base=tiny_arch(d_model=32), choices={"d_model": (32,)}), StaticMetrics(VocabularySize(300))
    objective = Objective(metric="size_bytes", direction=direction, weight=1.0, limit=limit)
    with pytest.raises(BudgetError) as error:
        require_reachable(space, static_metrics, (objective,), seed=0, draws=20)
    offered = float(str(error.value).split("relax the limit to ")[1].split(" MB")[0]) * 1e6
    size = static_metrics.counted(Design(arch=space.base)).size_bytes
    assert Objective(metric="size_bytes", direction=direction, limit=offered).broken_by(Metrics(size_bytes=size)) is None
