"""Charts: marks stand where the numbers say, and inside the picture."""

import re

import pytest

from codenas.report.charts import Bar, Coordinate, Line, Mark, Scale, Span, bars, parallel, plot, timeline
from codenas.report.scale import Limit


def test_points_stand_in_the_order_of_their_numbers_and_inside_the_picture() -> None:
    drawn = plot([Mark(1.0, 5.0, "a"), Mark(2.0, 4.0, "b"), Mark(3.0, 3.0, "c")], [], "x", "y", limit=Limit(3.5, "ms"))
    places = [(float(x), float(y)) for x, y in re.findall(r'cx="([\d.]+)" cy="([\d.]+)"', drawn)]
    assert [x for x, _ in places] == sorted(x for x, _ in places) and [y for _, y in places] == sorted(y for _, y in places)
    assert all(0 < x < 560 and 0 < y < 360 for x, y in places) and 'class="limit"' in drawn


def test_a_limit_that_is_far_away_is_named_and_presses_nothing_together() -> None:
    near = [Mark(1.0, 1.0, ""), Mark(2.0, 2.0, "")]
    drawn = plot(near, [], "x", "y", limit=Limit(100, "ms"))
    assert 'class="limit"' not in drawn and "limit 100 ms →" in drawn


@pytest.mark.parametrize("value", [0.0, 3.0, -2.0, 1e-9, 1e12])
def test_one_value_alone_has_a_scale(value: float) -> None:
    scale = Scale.over([value], 0.0, 100.0)
    assert 0 <= scale.at(value) <= 100 and 1 <= len(scale.ticks()) <= 12
    assert all(scale.low <= tick <= scale.high for tick in scale.ticks())


def test_without_anything_to_draw_there_is_no_chart() -> None:
    assert plot([], [], "x", "y") == bars([], "x") == timeline([], "x") == parallel([], []) == ""


def test_labels_at_one_place_do_not_lie_over_each_other() -> None:
    drawn = plot([Mark(1.0, 1.0, "", label="one"), Mark(1.0, 1.0, "", label="two"), Mark(2.0, 2.0, "")], [], "x", "y")
    heights = re.findall(r'<text class="point-name" x="[\d.]+" y="([\d.]+)"', drawn)
    assert len(set(heights)) == 2


def test_all_text_is_escaped() -> None:
    text, escaped = "<b>&\"'", "&lt;b&gt;&amp;&quot;&#x27;"
    charts = [
        plot([Mark(1.0, 1.0, text, text, label=text)], [Line([(1.0, 1.0)], text, text, label=text)], text, text),
        bars([Bar(text, [("k0", 1.0, text)], value=text)], text),
        timeline([Span(text, 0.0, 100.0, text, text, "k0")], text),
        parallel([Coordinate(text, [(0.0, text)])], [Line([(0.0, 0.0)], text, text)]),
    ]
    assert all("<b>" not in chart and escaped in chart for chart in charts)
