"""Make a version of a model package whose OpenVINO networks are exported anew; weights and all else stay.

    python scripts/export_again.py PACKAGE --version VERSION

PACKAGE is a name or a folder. That is how kidney 0.7.3 was made of 0.7.2 and liver 0.1.1 of 0.1.0, when merging classes
became quicker.
"""

from __future__ import annotations

import argparse

from hlfd.models.amend import export_again
from hlfd.models.registry import find


def main() -> None:
    """Write the new version beside the package."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("package")
    parser.add_argument("--version", required=True)
    args = parser.parse_args()
    print(export_again(find(args.package), args.version).folder)


if __name__ == "__main__":
    main()
