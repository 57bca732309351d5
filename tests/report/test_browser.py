"""A real browser lays the page out without anything sticking out, wide and narrow, light and dark."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from ftsafety.report import write_report

CHROMIUM = Path("/usr/bin/chromium")
FLAGS = [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update",
    "--disable-sync", "--virtual-time-budget=5000",
]  # fmt: skip
WRAPPER = """<!doctype html><body><pre id="out">nothing</pre><iframe style="border:0;width:WIDTHpx;height:900px"></iframe><script>
const frame = document.querySelector("iframe");
frame.onload = () => {
  const page = frame.contentDocument;
  page.querySelectorAll("details").forEach(one => one.open = true);
  const inside = one => one.closest(".scroll") !== null;
  const out = [...page.body.querySelectorAll("*")].filter(one => !inside(one) && one.getBoundingClientRect().right > WIDTH + 0.5)
    .map(one => one.tagName + "." + one.className);
  document.getElementById("out").textContent = JSON.stringify(
    {scroll: page.scrollingElement.scrollWidth, inner: frame.contentWindow.innerWidth, bars: page.querySelectorAll("svg.bar").length, out: out});
};
frame.srcdoc = PAGE;
</script>"""


@pytest.mark.chromium
@pytest.mark.skipif(not CHROMIUM.exists(), reason="needs /usr/bin/chromium")
@pytest.mark.parametrize("width", [1280, 400])
@pytest.mark.parametrize("kind", [{"controls": True}, {"attack": False}, {"shown": False}, {"backdoor": True}])
def test_nothing_sticks_out(make_run: Callable[..., Path], tmp_path: Path, width: int, kind: dict[str, bool]) -> None:
    page = write_report(make_run(**kind)).read_text()
    wrapper = tmp_path / "wrapper.html"
    wrapper.write_text(WRAPPER.replace("WIDTH", str(width)).replace("PAGE", json.dumps(page).replace("</", "<\\/")))
    command = [str(CHROMIUM), *FLAGS, f"--user-data-dir={tmp_path / 'profile'}", "--window-size=1400,1000", "--dump-dom", wrapper.as_uri()]
    dom = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout
    found = re.search(r'<pre id="out">(\{.*?\})</pre>', dom)
    assert found, dom[:500]
    seen = json.loads(found[1])
    assert seen["inner"] == width and seen["bars"] > 0
    assert seen["scroll"] <= seen["inner"], seen["out"]
    assert all(name.startswith(("circle.", "rect.", "line.", "g.")) for name in seen["out"]), seen["out"]
