"""The checker proves itself: every planted leak is found, and no clean strategy is accused."""

import shutil
from pathlib import Path

import pandas as pd
import pytest

from qmtl.testing.lookahead import check

STRATEGIES = Path(__file__).with_name("strategies")
LEAKS = {
    "FutureIndex": "look-ahead",
    "WholeSampleNormalisation": "look-ahead",
    "CentredWindow": "look-ahead",
    "ShiftedBack": "look-ahead",
    "MutableGlobal": "state kept between runs",
    "WallClock": "wall clock",
    "Weekday": "wall clock",
    "FileOfAnEarlierBar": "state kept between runs",
    "ModelOfAnEarlierRun": "earlier runs",
    "BestOfTheSample": "look-ahead",
    "LengthOfTheSample": "look-ahead",
    "FittedOnEverything": "look-ahead",
    "UnseededChance": "state kept between runs",
    "CountedFromTheStart": "dependence on the start",
    "ProviderAhead": "look-ahead",
}
CLEAN = [f"Clean{k}" for k in range(50)]


@pytest.fixture(scope="module")
def project(tmp_path_factory, real_data):
    folder = tmp_path_factory.mktemp("project")
    pd.read_parquet(real_data("BTC-PERP-1m.parquet")).head(1500).to_parquet(folder / "bars.parquet")
    for name in ("leaks.py", "clean.py"):
        shutil.copy(STRATEGIES / name, folder)
    (folder / "settings.json").write_text('{"k": 2.0}')
    (folder / "model.json").write_text('{"level": 47000.0}')  # from a run of yesterday
    return folder


@pytest.mark.parametrize("name", LEAKS)
def test_every_planted_leak_is_found(name, project):
    data = {} if name == "ProviderAhead" else {"price": str(project / "bars.parquet")}
    found = check(f"{project / 'leaks.py'}:{name}", data).found
    assert LEAKS[name] in {finding.kind for finding in found}, found
    node = "price" if name == "ProviderAhead" else "signal"
    assert {finding.node for finding in found} == {node}
    assert all(finding.ts for finding in found)


@pytest.mark.parametrize("name", CLEAN)
def test_no_clean_strategy_is_accused(name, project):
    findings = check(f"{project / 'clean.py'}:{name}", {"price": str(project / "bars.parquet")})
    assert findings.clean, findings.found


def test_a_check_leaves_the_files_of_the_user_alone(project):
    before = {path: path.read_bytes() for path in project.iterdir() if path.is_file()}
    for name in ("FileOfAnEarlierBar", "ModelOfAnEarlierRun"):
        check(f"{project / 'leaks.py'}:{name}", {"price": str(project / "bars.parquet")})
    assert {path: path.read_bytes() for path in project.iterdir() if path.is_file()} == before


def test_a_long_warm_up_hides_no_leak_and_is_no_leak(project):
    """Most of the bars warm up: the future begins after that, and what then lacks history is not accused."""
    source = (project / "leaks.py").read_text().replace("period=5", "period=1000")
    (project / "long.py").write_text(source)
    data = {"price": str(project / "bars.parquet")}
    assert check(f"{project / 'long.py'}:WholeSampleNormalisation", data).found
    clean = (project / "clean.py").read_text().replace("sma(p.close, 7)", "sma(p.close, 1200)")
    (project / "slow.py").write_text(clean)
    findings = check(f"{project / 'slow.py'}:Clean0", data)
    assert findings.clean, findings.found
