"""The code of README.md and of the start page runs, and its comments are true."""

import re
from pathlib import Path

import numpy as np
import pytest

import medsgd

ROOT = Path(__file__).parents[1]
PAGES = ["README.md", "doc/index.md"]


@pytest.mark.parametrize("page", PAGES)
def test_first_example(page):
    path = ROOT / page
    if not path.exists():
        pytest.skip("the documentation is not here")
    (code,) = re.findall(r"```python\n(.+?)```", path.read_text("utf-8"), re.DOTALL)
    assert "# 1.1 million" in code
    assert "# 1964 to 1970" in code
    names = {}
    exec(code, names)
    reg, years = names["reg"], names["years"]
    assert round(reg.coef_[0], 1) == 1.1
    assert years[reg.outliers_].tolist() == list(range(1964, 1971))
    # "as without the wrong years", "the outliers decide least squares".
    kept = ~reg.outliers_
    calls = np.array(names["calls"])
    assert round(np.polyfit(years[kept], calls[kept], 1)[0], 1) == 1.1
    assert np.polyfit(years, calls, 1)[0] > 5


def test_the_guide_has_every_page():
    guide = ROOT / "doc" / "user_guide"
    if not guide.exists():
        pytest.skip("the documentation is not here")
    pages = {path.stem for path in guide.iterdir()} - {"index"}
    listed = re.findall(r"(?m)^   (\w+)$", (guide / "index.rst").read_text("utf-8"))
    assert sorted(pages) == sorted(listed)


def test_releases_name_their_version_everywhere():
    files = ["CITATION.cff", "CHANGELOG.md", "doc/user_guide/citing.rst"]
    if not all((ROOT / name).exists() for name in files):
        pytest.skip("the documentation is not here")
    if ".dev" in medsgd.__version__:
        pytest.skip("not a release")
    citation, changes, page = ((ROOT / name).read_text("utf-8") for name in files)
    (version,) = re.findall(r"(?m)^version: (\S+)$", citation)
    (date,) = re.findall(r"(?m)^date-released: (\S+)$", citation)
    assert version == medsgd.__version__
    assert f"## [{version}] - {date}\n" in changes
    assert f"version = {{{version}}}" in page
