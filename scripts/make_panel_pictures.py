"""Makes the pictures of the panels in Resources/Screenshots, by the tests that drive them.

Usage: python scripts/make_panel_pictures.py  (in the environment of the tests)
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SEGMENT = "says_what_it_is or click_ends_with or everything_that_is_installed"
TRAIN = "says_what_to_do_first or roles_are_changed or report_comes_first or followed_to_its_result"


def main() -> int:
    """Run the tests that take pictures."""
    environment = {**os.environ, "HLFD_PICTURES": str(ROOT / "Resources" / "Screenshots")}
    command = [sys.executable, "-m", "pytest", "-q", "Testing/desktop", "-k", f"{SEGMENT} or {TRAIN}"]
    return subprocess.run(command, cwd=ROOT, env=environment, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
