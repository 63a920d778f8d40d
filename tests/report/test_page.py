"""The page of a search: well-formed, whole without a network, and nothing that a file holds becomes a part of it."""

import json
from html.parser import HTMLParser
from typing import Any

import pytest

from codenas.report.page import search_page
from codenas.report.page_data import SearchFigures, SearchRecord, search_figures
from tests.report.searches import hostile, searched

_VOID = {"meta", "br", "hr", "img", "link", "input"}
HOSTILE = "</script></title><img src=x onerror=alert(1)>\"'><b>&amp;\u2028"

STATES: dict[str, dict[str, Any]] = {
    "finished": {"refused": 0.1, "failed": 0.05},
    "begun": {"until": 9},
    "only proposed": {"until": 1},
    "empty": {"until": 0},
    "all refused": {"refused": 1.0},
    "all failed": {"failed": 1.0},
    "no latency": {"latency": False},
    "of an earlier version": {"curve": False},
}


class Reader(HTMLParser):
    """Reads a page strictly: what is opened is closed in order."""

    def __init__(self, page: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open, self.tags, self.attributes = list[str](), list[str](), list[tuple[str, str]]()
        self.scripts, self.styles, self.text = list[str](), list[str](), ""
        self.feed(page)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]
        if tag not in _VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]

    def handle_endtag(self, tag: str) -> None:
        assert self.open and self.open.pop() == tag, f"</{tag}> closes nothing"

    def handle_data(self, data: str) -> None:
        inside = self.open[-1] if self.open else ""
        if inside == "script":
            self.scripts.append(data)
        elif inside == "style":
            self.styles.append(data)
        else:
            self.text += data


def read(found: SearchRecord) -> tuple[Reader, SearchFigures]:
    figures = search_figures(found)
    return Reader(search_page(figures)), figures


@pytest.mark.parametrize("state", STATES)
def test_a_page_is_well_formed_and_holds_the_figures_that_stand_beside_it(state: str) -> None:
    page, figures = read(searched(**STATES[state]))
    embedded, script = page.scripts
    assert json.loads(embedded) == json.loads(figures.model_dump_json())
    assert "JSON.parse" in script
    assert "NaN" not in page.text and "None" not in page.text and "nan" not in " ".join(value for _, value in page.attributes)


@pytest.mark.parametrize("state", STATES)
def test_a_page_asks_nothing_of_a_network_or_another_file(state: str) -> None:
    page, _ = read(searched(**STATES[state]))
    places = [value for name, value in page.attributes if name in ("src", "href", "srcset", "data", "action", "xlink:href")]
    assert places and all(place.startswith("#") for place in places)
    assert not {"link", "img", "iframe", "object", "embed"} & set(page.tags)
    styles = [*page.styles, *(value for name, value in page.attributes if name == "style")]
    assert not any("url(" in style or "@import" in style for style in styles)
    assert any("default-src 'none'" in value for name, value in page.attributes if name == "content")
    assert not any(word in page.scripts[1] for word in ("fetch(", "XMLHttpRequest", "import(", "innerHTML", "eval("))


def test_nothing_that_a_file_holds_becomes_a_part_of_the_page() -> None:
    page, figures = read(hostile(HOSTILE))
    assert page.tags.count("script") == 2 and not {"img", "b"} & set(page.tags)
    assert not any(name.startswith("on") for name, _ in page.attributes)
    assert HOSTILE in page.text
    assert json.loads(page.scripts[0])["run"] == figures.run == HOSTILE


def test_links_of_the_page_lead_somewhere() -> None:
    page, _ = read(searched(**STATES["finished"]))
    names = {value for name, value in page.attributes if name == "id"}
    assert {value[1:] for name, value in page.attributes if name == "href"} <= names
    assert {"figures", "tip", "cloud"} <= names, "the script looks for them"


def test_a_search_without_a_result_is_marked_unfinished() -> None:
    begun, _ = read(searched(**STATES["begun"]))
    assert "unfinished" in begun.text and "best so far" in begun.text and "codenas serve" not in begun.text
    finished, _ = read(searched(**STATES["finished"]))
    assert "unfinished" not in finished.text and "codenas serve --run runs/it" in finished.text
    failed, _ = read(searched(**STATES["all failed"]))
    assert "diverged" in failed.text and "No candidate has reported yet." in failed.text


def test_what_was_not_measured_or_recorded_is_said_and_not_drawn() -> None:
    page, _ = read(searched(**STATES["no latency"]))
    assert "No latency was measured" in page.text and ("id", "cloud") not in page.attributes
    page, _ = read(searched(**STATES["of an earlier version"]))
    assert "This history has no training curves" in page.text and "has no timeline" in page.text
