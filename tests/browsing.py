"""A page of a service on this machine as a browser leaves it."""

import os
import shutil
import subprocess

import pytest

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
BROWSER = next(filter(None, map(shutil.which, BROWSERS)), None)
needs_browser = pytest.mark.skipif(
    BROWSER is None, reason=f"none of these browsers is installed: {', '.join(BROWSERS)}"
)
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars",
    "--enable-logging=stderr", "--v=0", "--run-all-compositor-stages-before-draw",
    "--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1", "--no-first-run",
    "--disable-extensions",
)  # fmt: skip


def browse(folder, address, *flags):
    """Its document after half a minute of the page's own time, and what it complained of."""
    run = subprocess.run(
        [BROWSER, *FLAGS, *flags, "--dump-dom", "--virtual-time-budget=30000",
         f"--user-data-dir={folder / 'profile'}", address],
        capture_output=True, text=True, timeout=120, check=True,
        env=os.environ | {"HOME": str(folder)},
    )  # fmt: skip
    return run.stdout, [line for line in run.stderr.splitlines() if "CONSOLE" in line]
