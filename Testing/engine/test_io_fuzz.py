"""Truncated and bit-flipped files give a clear error or a correct volume, never a crash."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from hlfd.errors import HlfdError
from hlfd.io import read_volume, write_volume
from hlfd.io.checksum import _payload
from hlfd.volume import Volume

KINDS = ("zip.nii.gz", "plain.nii", "zip.nrrd", "raw.nrrd", "zip.mha", "raw.mha")
PER_KIND = 80


def _sound() -> Volume:
    values = np.random.default_rng(5).integers(-1000, 1000, (6, 7, 8)).astype(np.int16)
    values[:, :, :4] = -1000
    return Volume(values, np.diag([0.8, 0.8, 2.0, 1.0]))


def _write(kind: str, folder: Path) -> Path:
    path = folder / kind
    if kind.startswith("raw"):
        write_volume(_sound(), folder / "source.mha")
        sitk.WriteImage(sitk.ReadImage(str(folder / "source.mha")), str(path), False)
    else:
        write_volume(_sound(), path)
    return path


def _protected_from(path: Path) -> int | None:
    """The offset behind which a checksum guards every bit, or None where the format has none."""
    if path.name.endswith(".nii.gz"):
        return 10  # the gzip header itself is not covered
    payload = _payload(path)
    return payload[1] + 10 if payload else None


def _outcome(path: Path, sound: Volume) -> str:
    try:
        volume = read_volume(path)
    except HlfdError as error:
        return f"error {error.code}" if error.message and error.code != "internal" else "BAD error"
    if not (isinstance(volume, Volume) and volume.array.ndim == 3 and np.isfinite(volume.array).all()):
        return "BAD volume"
    same = volume.same_grid(sound) and np.array_equal(volume.array, sound.array)
    return "same" if same else "other"


def damage_and_read(kind: str, folder: Path) -> Counter[str]:
    """Read damaged copies of one file and count outcomes by kind of damage."""
    rng = np.random.default_rng(len(kind) + ord(kind[0]))
    path, sound = _write(kind, folder), _sound()
    data, guarded = path.read_bytes(), _protected_from(path)
    found: Counter[str] = Counter()
    for number in range(PER_KIND):
        damaged = bytearray(data)
        where = int(rng.integers(0, len(data)))
        if number % 2:
            damaged[where] ^= 1 << int(rng.integers(0, 8))
            damage = "guarded flip" if guarded is not None and where >= guarded else "flip"
        else:
            damaged, damage = damaged[:where], "truncated"
        path.write_bytes(bytes(damaged))
        found[f"{damage}: {_outcome(path, sound)}"] += 1
    return found


@pytest.mark.parametrize("kind", KINDS)
def test_damaged_files_are_refused_or_read_right(kind, tmp_path):
    # in a process of its own, so that a crash in a format library would fail this test and not end the run
    run = subprocess.run(
        [sys.executable, __file__, kind, str(tmp_path)], capture_output=True, text=True, check=False, timeout=120
    )
    assert run.returncode == 0, run.stderr
    assert run.stderr == ""
    found = dict(line.rsplit("=", 1) for line in run.stdout.splitlines())
    assert sum(map(int, found.values())) == PER_KIND
    for outcome in found:
        assert "BAD" not in outcome, found
        assert outcome not in ("truncated: other", "guarded flip: other"), found


if __name__ == "__main__":
    for outcome, count in damage_and_read(sys.argv[1], Path(sys.argv[2])).items():
        sys.stdout.write(f"{outcome}={count}\n")
