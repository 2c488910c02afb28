"""Give a model package the teacher of another one, for the feature viewer, as a new version; its student stays.

    python scripts/add_teacher.py PACKAGE --teacher DONOR --version VERSION

Both are names or folders of packages. That is how kidney 0.7.1 was made of 0.7.0 and of what the recipe trained.
"""

from __future__ import annotations

import argparse

from hlfd.models.amend import add_teacher
from hlfd.models.registry import find


def main() -> None:
    """Write the new version beside the package."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("package")
    parser.add_argument("--teacher", required=True, metavar="DONOR")
    parser.add_argument("--version", required=True)
    args = parser.parse_args()
    print(add_teacher(find(args.package), find(args.teacher), args.version).folder)


if __name__ == "__main__":
    main()
