"""Makes the thumbnail of the sample CT for Slicer's module Sample Data, from the picture in Resources/Screenshots.

Usage: python scripts/make_thumbnail.py  (needs PySide6)
"""

from __future__ import annotations

import sys
from pathlib import Path

from PySide6.QtCore import Qt
from PySide6.QtGui import QImage

ROOT = Path(__file__).resolve().parents[1]
SOURCE = ROOT / "Resources" / "Screenshots" / "axial.png"
TARGET = ROOT / "HLFDSegment" / "Resources" / "HLFDSegment" / "Samples" / "HLFDKidneyTumor.png"
PIXELS = 168


def main() -> int:
    """Write the thumbnail: the middle of the picture, square."""
    picture = QImage(str(SOURCE))
    side = round(0.74 * min(picture.width(), picture.height()))
    square = picture.copy((picture.width() - side) // 2, (picture.height() - side) // 3, side, side)
    smooth = Qt.TransformationMode.SmoothTransformation
    small = square.scaled(PIXELS, PIXELS, Qt.AspectRatioMode.KeepAspectRatio, smooth)
    return 0 if small.convertToFormat(QImage.Format.Format_RGB888).save(str(TARGET)) else 1


if __name__ == "__main__":
    sys.exit(main())
