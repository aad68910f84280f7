"""The page in a real browser, which alone knows whether scripts and layout work."""

import json
import re
import shutil
import subprocess
from html import unescape
from pathlib import Path
from typing import Any

import pytest

from tests.tuning.reporting.sweeps import NASTY, make_facts
from tuning.reporting.page import render

CHROMIUM = shutil.which("chromium")

pytestmark = [
    pytest.mark.ray,  # starts a browser
    pytest.mark.skipif(CHROMIUM is None, reason="no chromium here: apt-get install chromium"),
]

LOOK = """\
<script>
const rows = () => [...document.querySelector("table.sortable").tBodies[0].rows];
const column = (index) => rows().map((row) => row.cells[index].textContent);
const head = document.querySelectorAll("table.sortable thead th")[2];
head.click();
const rising = column(2);
head.click();
const falling = column(2);
const dot = document.querySelector(".dot.won"), box = dot.getBoundingClientRect();
const place = {bubbles: true, clientX: box.x, clientY: box.y};
dot.dispatchEvent(new PointerEvent("pointermove", place));
const texts = [...document.querySelectorAll("svg text")].map((one) => one.getBoundingClientRect());
const found = {
  rising, falling,
  tip: document.getElementById("tip").textContent,
  charts: document.querySelectorAll("svg").length,
  loaded: performance.getEntriesByType("resource").length,
  bold: document.querySelectorAll("td b").length,
  overflow: document.documentElement.scrollWidth - document.documentElement.clientWidth,
  outside: texts.filter((each) => each.left < 0 || each.right > innerWidth).length,
};
const shown = document.createElement("pre");
shown.id = "found";
shown.textContent = JSON.stringify(found);
document.body.append(shown);
</script>
"""


@pytest.mark.parametrize("width", [1280, 700])
def test_the_page_in_a_browser(tmp_path: Path, width: int) -> None:
    found = look_at(render(make_facts()), tmp_path, width)

    assert [each for each in found["rising"] if each] == [
        "0.5000", "0.6500", "0.7500", "0.8250", "0.8750",
    ]  # fmt: skip
    assert [each for each in found["falling"] if each] == [
        "0.8750", "0.8250", "0.7500", "0.6500", "0.5000",
    ]  # fmt: skip
    assert found["tip"].startswith("trial 1: complete\naccuracy 0.8750\nkind = line")
    assert found["charts"] >= 6
    assert (found["loaded"], found["bold"]) == (0, 0), NASTY
    assert (found["overflow"], found["outside"]) == (0, 0)


def look_at(page: str, folder: Path, width: int) -> dict[str, Any]:
    """Open a page, use it, and return what there was to see."""
    path = folder / "report.html"
    path.write_text(page.replace("</body>", f"{LOOK}</body>"))
    done = subprocess.run(
        [
            str(CHROMIUM), "--headless", "--no-sandbox", "--disable-gpu",
            f"--window-size={width},1000", f"--user-data-dir={folder / 'profile'}",
            "--dump-dom", path.as_uri(),
        ],
        capture_output=True, text=True, timeout=120, check=True,
    )  # fmt: skip
    shown = re.search(r'<pre id="found">(.*?)</pre>', done.stdout, re.DOTALL)
    assert shown is not None, done.stderr[-2000:]
    found: dict[str, Any] = json.loads(unescape(shown[1]))
    return found
