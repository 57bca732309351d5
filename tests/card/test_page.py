"""The card's page: whole, closed to the network, and nothing sticks out in a real browser."""

from __future__ import annotations

import json
import re
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import pytest

from ftsafety.card.card import card
from ftsafety.card.page import render
from tests.card.maker import PLAIN, Behaviour, Maker
from tests.report.test_browser import CHROMIUM, FLAGS, WRAPPER


class Tags(HTMLParser):
    """Tags that are open, ids, links within the page, and addresses."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []
        self.links: list[str] = []
        self.seen: set[str] = set()
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        told = dict(attrs)
        self.seen.add(tag)
        self.ids += [str(told["id"])] if "id" in told else []
        self.links += [str(told[name]) for name in ("href", "src") if name in told]
        if tag not in ("meta", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


@pytest.fixture
def page(maker: Maker) -> str:
    for mitigation, behaviour in (("", PLAIN), ("ideal", Behaviour(kept=0.1, over_refusal=0.9))):
        for seed in (0, 1):
            maker.write(mitigation, behaviour, seed=seed)
    return render(card("ideal", [maker.folder]))


def test_the_page_is_whole_and_says_everything(page: str) -> None:
    tags = Tags(page)
    assert tags.open == [] and "script" not in tags.seen
    assert len(set(tags.ids)) == len(tags.ids)
    assert all(link.removeprefix("#") in tags.ids for link in tags.links) and len(tags.links) == 7
    assert "default-src 'none'" in page
    assert "python -m ftsafety -m model=smollm2_135m" in page and "reliability.models" in page
    assert page.count("✗ failed") >= 2 and "? not shown" in page and "Scope." in page


def test_names_are_escaped(maker: Maker) -> None:
    for mitigation in ("", "ideal"):
        folder = maker.write(mitigation, PLAIN)
        data = json.loads((folder / "run.json").read_text())
        data["names"]["model"] = "<b>bold</b>"
        (folder / "run.json").write_text(json.dumps(data))
    assert "<b>bold</b>" not in render(card("ideal", [maker.folder]))


@pytest.mark.chromium
@pytest.mark.skipif(not CHROMIUM.exists(), reason="needs /usr/bin/chromium")
@pytest.mark.parametrize("width", [1280, 400])
def test_nothing_sticks_out(page: str, tmp_path: Path, width: int) -> None:
    wrapper = tmp_path / "wrapper.html"
    wrapper.write_text(WRAPPER.replace("WIDTH", str(width)).replace("PAGE", json.dumps(page).replace("</", "<\\/")))
    command = [str(CHROMIUM), *FLAGS, f"--user-data-dir={tmp_path / 'profile'}", "--window-size=1400,1000", "--dump-dom", wrapper.as_uri()]
    dom = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout
    found = re.search(r'<pre id="out">(\{.*?\})</pre>', dom)
    assert found, dom[:500]
    seen = json.loads(found[1])
    assert seen["inner"] == width
    assert seen["scroll"] <= seen["inner"] and seen["out"] == [], seen["out"]
