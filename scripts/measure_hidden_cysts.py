"""Count the cysts that KiTS23 knows in patients of KiTS19, and what KiTS19 calls them.

    HLFD_KITS23=kits23/dataset python scripts/measure_hidden_cysts.py --out docs/measured/hidden-cysts.json

Writes per patient the volume in ml of every cyst of at least 0.05 ml and the shares of its voxels that the label map of
KiTS19 has as kidney and as tumor, and prints the sums.
"""

from __future__ import annotations

import argparse
import json
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from scipy import ndimage

from hlfd.errors import InputError
from hlfd.labels import KIDNEY_CYST, KIDNEY_TUMOR
from hlfd.phantom.shapes import kits_cases, kits_path

LEAST_ML = 0.05


def cysts_of(case: int) -> list[tuple[float, float, float]]:
    """Return (volume in ml, share called kidney, share called tumor by KiTS19) of every cyst of a patient."""
    former, latter = (sitk.ReadImage(str(kits_path(case, name)), sitk.sitkUInt8) for name in ("kits19", "kits23"))
    called, known = sitk.GetArrayViewFromImage(former), sitk.GetArrayViewFromImage(latter)
    voxel_ml = float(np.prod(former.GetSpacing())) / 1000
    parts, _ = ndimage.label(known == KIDNEY_CYST.value)
    found = []
    for number, box in enumerate(ndimage.find_objects(parts), start=1):
        values = called[box][parts[box] == number]
        if len(values) * voxel_ml >= LEAST_ML:
            shares = float((values == 1).mean()), float((values == KIDNEY_TUMOR.value).mean())
            found.append((round(len(values) * voxel_ml, 2), round(shares[0], 3), round(shares[1], 3)))
    return found


def main() -> None:
    """Run the script."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="file to write")
    parser.add_argument("--jobs", type=int, default=2)
    args = parser.parse_args()
    cases = kits_cases() or [0]  # where there is none, the first is named as missing
    try:
        with ProcessPoolExecutor(args.jobs) as pool:
            found = dict(zip(cases, pool.map(cysts_of, cases)))
    except InputError as error:
        parser.error(f"{error.message} {error.remedy}")
    args.out.write_text(json.dumps({f"{case:05d}": cysts for case, cysts in found.items()}), encoding="utf-8")
    everyone = [cyst for cysts in found.values() for cyst in cysts]
    print(
        f"{len(everyone)} cysts in {sum(map(bool, found.values()))} of {len(cases)} patients, "
        f"in {sum(any(cyst[0] >= 1 for cyst in cysts) for cysts in found.values())} one of 1 ml or more"
    )
    for low, high in ((LEAST_ML, 0.5), (0.5, 2), (2, 8), (8, 30), (30, np.inf)):
        chosen = np.array([cyst for cyst in everyone if low <= cyst[0] < high])
        _, kidney, tumor = chosen.mean(0)
        print(f"{low} to {high} ml: {len(chosen)}, {kidney:.3f} of their voxels called kidney, {tumor:.3f} tumor")


if __name__ == "__main__":
    main()
