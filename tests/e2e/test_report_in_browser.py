"""The report as people see it: a headless Chromium, wide and narrow, light and dark, without a network."""

import html
import json
import os
import re
import shutil
import subprocess

import pytest

from qmtl.cli.demonstration import STRATEGIES
from qmtl.sdk import Runner

pytestmark = pytest.mark.browser

#: Tells what the page came to: its width, its charts, and whatever went wrong.
PROBE = """
<script>
  window.addEventListener("load", () => setTimeout(() => {
    const painted = [...document.querySelectorAll("canvas")].filter((c) => c.width > 0 && c.height > 0).length;
    const text = getComputedStyle(document.body).color;
    document.body.dataset.probe = JSON.stringify({
      width: document.documentElement.scrollWidth, inner: window.innerWidth, painted, errors: window.faults, text,
    });
  }, 1500));
</script>
"""
FAULTS = "<script>window.faults = []; window.onerror = (message) => window.faults.push(String(message));</script>"


@pytest.fixture(scope="module")
def chromium():
    found = shutil.which("chromium") or shutil.which("google-chrome")
    if found is None:
        message = "no Chromium: apt-get install chromium"
        (pytest.fail if os.environ.get("QMTL_REQUIRE_REAL") == "1" else pytest.skip)(message)
    return found


@pytest.fixture(scope="module")
def page(tmp_path_factory, real_data):
    folder = tmp_path_factory.mktemp("report")
    result = Runner.backtest(STRATEGIES[1], data={"price": real_data("BTC-PERP-1m.parquet")})
    path = result.report(folder / "report.html")
    text = path.read_text(encoding="utf-8")
    assert not re.search(r"""(src|href)=["']?(https?:)?//""", text)
    path.write_text(text.replace("<head>", "<head>" + FAULTS).replace("</body>", PROBE + "</body>"), encoding="utf-8")
    return path


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 400])
def test_the_page_fits_and_paints_its_charts(width, scheme, chromium, page, tmp_path):
    words = [
        chromium, "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path}",
        f"--window-size={width},2000",
        f"--blink-settings=preferredColorScheme={1 if scheme == 'light' else 0}", "--virtual-time-budget=8000",
        "--host-resolver-rules=MAP * ~NOTFOUND", "--dump-dom", f"file://{page}",
    ]  # fmt: skip
    done = subprocess.run(words, capture_output=True, text=True, timeout=100, check=False)
    found = re.search(r'data-probe="([^"]*)"', done.stdout)
    assert found, done.stderr[-2000:]
    seen = json.loads(html.unescape(found[1]))
    assert seen["errors"] == []
    assert seen["width"] <= seen["inner"]  # nothing sticks out to the right
    assert seen["painted"] >= 8  # equity, drawdown, price and five nodes
    bright = sum(map(int, re.findall(r"\d+", seen["text"])[:3])) > 384
    assert bright is (scheme == "dark")
