"""Make a version of a model package that leaves out lesions of less than a share of confidence; its networks stay.

    python scripts/limit_confidence.py PACKAGE SHARE --version VERSION

PACKAGE is a name or a folder. That is how kidney 0.7.2 was made of 0.7.1.
"""

from __future__ import annotations

import argparse

from hlfd.models.amend import limit_confidence
from hlfd.models.registry import find


def main() -> None:
    """Write the new version beside the package."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("package")
    parser.add_argument("share", type=float)
    parser.add_argument("--version", required=True)
    args = parser.parse_args()
    print(limit_confidence(find(args.package), args.share, args.version).folder)


if __name__ == "__main__":
    main()
