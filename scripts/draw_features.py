"""Draw what teacher, student and the student without distillation look at in a CT, as the feature viewer exports it.

    python scripts/draw_features.py --out docs/pictures [--ct CT] [--model kidney] [--pair d2] [--maps pca evidence]

Writes ``features-MAP.png`` for every map into OUT: the panels side by side with their legend, of the part around the
tumor. The CT is the sample of ``hlfd demo`` where none is named; the views are Slicer's own (``hlfd[slicer]``, torch).
"""

from __future__ import annotations

import argparse
from pathlib import Path

from hlfd.config import SegmentSettings
from hlfd.errors import HlfdError
from hlfd.io import read_volume
from hlfd.viewer import PART_MM
from HLFDSegmentLib.feature_figure import export_figure
from HLFDSegmentLib.feature_logic import FeatureLogic
from HLFDSegmentLib.feature_maps import Selection
from HLFDSegmentLib.headless import HeadlessScene
from HLFDSegmentLib.volumes import volume_to_node
from HLFDSegmentLib.worker_engine import WorkerEngine

SAMPLE = Path(__file__).resolve().parents[1] / "HLFDSegment/Resources/HLFDSegment/Samples/sample_ct.nii.gz"


def main() -> None:
    """Draw the maps."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--ct", type=Path, default=SAMPLE)
    parser.add_argument("--model", default="kidney")
    parser.add_argument("--pair", default="d2")
    parser.add_argument("--maps", nargs="+", default=["pca", "evidence"])
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    application = HeadlessScene()
    engine = WorkerEngine(SegmentSettings(model=args.model))
    logic = FeatureLogic(application.scene, engine)
    errors: list[HlfdError] = []
    logic.failed.connect(errors.append)
    try:
        logic.start(volume_to_node(application.scene, read_volume(args.ct)), {"part_mm": PART_MM, "pairs": [args.pair]})
        logic.wait()
        if errors:
            raise SystemExit(str(errors[0]))
        for kind in args.maps:
            logic.show(Selection(args.pair, kind))
            path = args.out / f"features-{kind}.png"
            export_figure(logic, application.application_logic, path)
            print(path)
    finally:
        logic.close()
        engine.close()


if __name__ == "__main__":
    main()
