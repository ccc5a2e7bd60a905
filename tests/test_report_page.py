"""A browser opens the report: it draws every figure, complains of nothing and fits a phone."""

import os
import re
import shutil
import subprocess

import pytest

import neuromfa
from neuromfa.reports import page, story
from neuromfa.reports.material import of_analysis, open_material
from neuromfa.reports.opening import opening
from tiny_training import weights, write_training

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
BROWSER = next(filter(None, map(shutil.which, BROWSERS)), None)
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars",
    "--enable-logging=stderr", "--v=0", "--allow-file-access-from-files", "--dump-dom",
    "--virtual-time-budget=30000", "--run-all-compositor-stages-before-draw",
    "--host-resolver-rules=MAP * ~NOTFOUND", "--no-first-run", "--disable-extensions",
)  # fmt: skip
NAME = "a-model-with-quite-a-long-name_in_one_word"
FRAME = """<!doctype html>
<iframe id="frame" src="page.html" style="width:WIDTHpx;height:800px;border:0"></iframe><script>
const wait = setInterval(() => {
  const root = document.getElementById("frame").contentDocument.documentElement;
  if (!root || !root.dataset.drawn) return;
  clearInterval(wait);
  const svg = [...root.querySelectorAll(".chart svg")];
  const paths = svg.map((one) => one.querySelectorAll("path").length);
  document.body.innerHTML = [
    root.dataset.drawn, root.scrollWidth - root.clientWidth, Math.min(...paths),
    Math.max(...svg.map((one) => one.getBoundingClientRect().right)),
    root.ownerDocument.defaultView.getComputedStyle(root.querySelector("body")).backgroundColor,
    svg.filter((one) => !/\\d/.test(one.closest("[aria-label]")?.ariaLabel)).length,
  ].join("|");
}, 20);
</script>"""


def opened(folder, width, *flags):
    """What a browser made of ``page.html``, at a width: drawn, overflow, least paths, right edge,
    colour of the paper, figures without a description; and what it complained of."""
    if BROWSER is None:
        pytest.skip(f"none of these browsers is installed: {', '.join(BROWSERS)}")
    (folder / "frame.html").write_text(FRAME.replace("WIDTH", str(width)))
    profile = f"--user-data-dir={folder / 'profile'}"
    run = subprocess.run(
        [BROWSER, *FLAGS, *flags, profile, f"file://{folder / 'frame.html'}"],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
        env=os.environ | {"HOME": str(folder)},
    )
    complaints = [line for line in run.stderr.splitlines() if "CONSOLE" in line]
    found = re.search(r"<body>([^<]*\|[^<]*)</body>", run.stdout)
    assert found, f"{run.stdout[-500:]}\n{complaints}"
    drawn, overflow, paths, right, paper, unnamed = found[1].split("|")
    return drawn, float(overflow), int(paths), float(right), paper, int(unnamed), complaints


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    """Of a suite, and of one analysis."""
    folder = tmp_path_factory.mktemp("pages")
    write_training(folder / NAME, (0, 8, 64))
    (folder / "suite.toml").write_text(
        f'[controls]\nreplicates = 2\n[[model]]\nname = "{NAME}"\n'
        'checkpoints = ["a-model*/step*"]\n[[scores]]\nfiles = ["scores.csv"]\n'
    )
    lines = (f"{NAME},{s},some_task,acc,{s}" for s in (0, 8, 64))
    (folder / "scores.csv").write_text("\n".join(["model,step,task,metric,value", *lines]) + "\n")
    suite = open_material(neuromfa.run_suite(folder / "suite.toml").directory)
    single = of_analysis(neuromfa.analyse(weights(64)))
    for name, material in (("suite", suite), ("single", single)):
        page.write_page(opening(material), story.tell(material), folder / name / "page.html")
    return folder


@pytest.mark.parametrize("name", ["suite", "single"])
@pytest.mark.parametrize("width", [360, 1280])
def test_the_page_in_a_browser(pages, name, width):
    text = (pages / name / "page.html").read_text()
    figures = text.count('<div class="chart">')
    drawn, overflow, paths, right, paper, unnamed, complaints = opened(pages / name, width)
    assert complaints == []
    assert drawn == f"{figures}/{figures}"
    assert figures >= 5
    assert overflow == 0, "the page scrolls sideways"
    assert right <= width
    assert paths > 3
    assert unnamed == 0
    assert paper == "rgb(255, 255, 255)"


def test_dark_paper(pages):
    *_, paper, _, complaints = opened(
        pages / "single", 800, "--blink-settings=preferredColorScheme=0"
    )
    assert paper == "rgb(21, 24, 29)"
    assert complaints == []
