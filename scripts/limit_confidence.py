"""Make a version of a model package that leaves out lesions of less than a share of confidence; its networks stay.

    python scripts/limit_confidence.py PACKAGE SHARE --version VERSION [--scores summary.json]

PACKAGE is a name or a folder, the scores are what the stage assess of its recipe wrote with that limit. That is how
kidney 0.7.2 was made of 0.7.1.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from hlfd.models.amend import limit_confidence
from hlfd.models.registry import find


def main() -> None:
    """Write the new version beside the package."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("package")
    parser.add_argument("share", type=float)
    parser.add_argument("--version", required=True)
    parser.add_argument("--scores", type=Path, metavar="FILE")
    args = parser.parse_args()
    scores = json.loads(args.scores.read_text(encoding="utf-8")) if args.scores else None
    print(limit_confidence(find(args.package), args.share, args.version, scores).folder)


if __name__ == "__main__":
    main()
