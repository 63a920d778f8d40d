"""The picture of a front: a whole PNG, the same for the same points, and what it draws."""

import struct
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure

from codenas.report import plots
from codenas.report.plots import FrontPoint, front
from codenas.report.scale import Limit

POINTS = [
    FrontPoint("a", 50, 3.2, 4_000_000, 1.0),
    FrontPoint("b", 50, 3.0, 8_000_000, 2.0),
    FrontPoint("a", 300, 2.2, 4_000_000, 1.0, on_front=True),
    FrontPoint("b", 300, 1.9, 8_000_000, 2.0, on_front=True, winner=True),
]


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[Figure]:
    """Collects the figures that `front` draws."""
    figures: list[Figure] = []
    figure = plots._figure

    def remember(width: float, height: float) -> Figure:
        figures.append(figure(width, height))
        return figures[-1]

    monkeypatch.setattr(plots, "_figure", remember)
    return figures


@pytest.mark.parametrize("points", [POINTS, POINTS[:1], POINTS * 50], ids=["front", "one point", "many"])
def test_the_file_is_a_png_of_sane_size(points: list[FrontPoint], tmp_path: Path) -> None:
    front(points, tmp_path / "pictures" / "front.png", max_size=Limit(10, "MB"))
    data = (tmp_path / "pictures" / "front.png").read_bytes()
    assert data.startswith(b"\x89PNG\r\n\x1a\n") and data.endswith(b"IEND\xaeB`\x82")
    width, height = struct.unpack(">II", data[16:24])
    assert (width, height) == (1440, 660)
    assert 10_000 < len(data) < 500_000


def test_equal_points_give_equal_bytes(tmp_path: Path) -> None:
    for name in ("first.png", "second.png"):
        front(POINTS, tmp_path / name)
    assert (tmp_path / "first.png").read_bytes() == (tmp_path / "second.png").read_bytes()


def test_both_panels_show_units_rungs_front_winner_and_limits(tmp_path: Path, drawn: list[Figure]) -> None:
    front(POINTS, tmp_path / "front.png", max_size=Limit(20, "MB"), max_latency=Limit(5, "ms"))
    (figure,) = drawn
    left, right = figure.axes
    assert "(MB)" in left.get_xlabel() and "(ms per token)" in right.get_xlabel() and "bits per byte" in left.get_ylabel()
    for axes, limit in ((left, "limit 20 MB"), (right, "limit 5 ms")):
        assert axes.get_legend_handles_labels()[1] == ["after 50 steps", "after 300 steps", "Pareto front", "winner", "limit"]
        assert [text.get_text() for text in axes.texts] == ["a", "b", limit]
    assert [line.get_linestyle() for line in left.lines] == ["-", "--"]


def test_without_limits_no_limit_is_drawn(tmp_path: Path, drawn: list[Figure]) -> None:
    front(POINTS, tmp_path / "front.png")
    assert all("limit" not in axes.get_legend_handles_labels()[1] for axes in drawn[0].axes)


def test_the_joined_line_takes_only_what_leads_in_its_panel(tmp_path: Path, drawn: list[Figure]) -> None:
    slow_but_small = FrontPoint("c", 300, 2.5, 2_000_000, 9.0, on_front=True)
    front([*POINTS, slow_but_small], tmp_path / "front.png")
    left, right = drawn[0].axes
    assert np.asarray(left.lines[0].get_xdata()).tolist() == [2.0, 4.0, 8.0]
    assert np.asarray(right.lines[0].get_xdata()).tolist() == [1.0, 2.0]


def test_nothing_to_draw_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="without points"):
        front([], tmp_path / "front.png")
    assert not (tmp_path / "front.png").exists()


def test_a_distant_limit_is_named_at_the_edge_and_squeezes_no_points(tmp_path: Path, drawn: list[Figure]) -> None:
    front(POINTS, tmp_path / "front.png", max_size=Limit(50_000, "MB"))
    left = drawn[0].axes[0]
    assert left.get_xlim()[1] < 20 and "limit 50,000 MB →" in [text.get_text() for text in left.texts]
