"""DICOM folders: series choice, slice checks, and compressions."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
import SimpleITK as sitk

from hlfd import errors
from hlfd.events import Warn
from hlfd.io import list_series, read_volume

COMMON = {
    "0008|0016": "1.2.840.10008.5.1.4.1.1.2",
    "0008|0060": "CT",
    "0020|0037": "1\\0\\0\\0\\1\\0",
    "0028|1052": "-1024",
    "0028|1053": "1",
}


def _write_series(folder, values, uid="1.2.3.1", step=2.5, skip=(), shift=0.0, name="", **tags):
    """Write (k, j, i) HU as CT slices; ``shift`` moves every slice along y as a tilted gantry does."""
    folder.mkdir(exist_ok=True, parents=True)
    writer = sitk.ImageFileWriter()
    writer.KeepOriginalImageUIDOn()
    for k, plane in enumerate(values):
        if k in skip:
            continue
        image = sitk.GetImageFromArray(plane.astype(np.int16)[None])
        image.SetSpacing((0.5, 0.75, step))
        position = f"-10.5\\{20 + shift * k}\\{-100 + step * k}"
        headers = {
            **COMMON,
            "0020|000e": uid,
            "0020|000d": "1.2.3",
            "0008|0018": f"{uid}.{k + 1}",
            "0020|0013": str(k + 1),
            "0020|0032": position,
            "0008|103e": "Abdomen",
            **tags,
        }
        for key, value in headers.items():
            image.SetMetaData(key, value)
        image.SetOrigin((-10.5, 20 + shift * k, -100 + step * k))
        # file names in reverse, so that their order cannot be what is used
        writer.SetFileName(str(folder / f"{name}{99 - k:03d}.dcm"))
        writer.Execute(image)


def test_the_real_series_reads_in_order(shared_data):
    volume = read_volume(shared_data / "totalsegmentator_example" / "dicom")
    assert volume.shape == (20, 512, 512)
    assert volume.spacing == pytest.approx((0.9765625, 0.9765625, 2.0))
    assert volume.array.dtype == np.int16
    assert volume.affine[:3, 3] == pytest.approx([249.51171875, 437.51171875, -804.5])
    # neighbouring slices of a body resemble each other more than distant ones
    change = np.abs(np.diff(volume.array.astype(float), axis=0)).mean()
    assert change < np.abs(volume.array[0].astype(float) - volume.array[-1]).mean()


def test_one_file_stands_for_its_series(shared_data):
    folder = shared_data / "totalsegmentator_example" / "dicom"
    assert read_volume(sorted(folder.iterdir())[3]).shape == (20, 512, 512)


def test_values_and_places_of_a_written_series_come_back(tmp_path, ct_values):
    _write_series(tmp_path / "s", ct_values)
    volume = read_volume(tmp_path / "s")
    assert np.array_equal(volume.array, ct_values)
    assert volume.name == "Abdomen"
    expected = [[-0.5, 0, 0, 10.5], [0, -0.75, 0, -20], [0, 0, 2.5, -100], [0, 0, 0, 1]]
    assert np.allclose(volume.affine, expected, atol=1e-4)


def test_missing_slices_are_found(tmp_path, ct_values):
    _write_series(tmp_path / "s", ct_values, skip=(4,))
    with pytest.raises(errors.GeometryError, match=r"5\.00 mm .* elsewhere 2\.50 mm"):
        read_volume(tmp_path / "s")


def test_gantry_tilt_is_found(tmp_path, ct_values):
    _write_series(tmp_path / "s", ct_values, shift=0.5)
    with pytest.raises(errors.GeometryError, match=r"gantry tilt.*11\.3 degrees"):
        read_volume(tmp_path / "s")


def test_two_phases_in_one_series_are_refused(tmp_path, ct_values):
    _write_series(tmp_path / "s", ct_values)
    _write_series(tmp_path / "s", ct_values, name="late")
    with pytest.raises(errors.GeometryError, match="mixes several scans"):
        read_volume(tmp_path / "s")


def test_a_single_slice_is_no_volume(tmp_path, ct_values):
    _write_series(tmp_path / "s", ct_values[:1])
    with pytest.raises(errors.GeometryError, match="single slice"):
        read_volume(tmp_path / "s")


def test_other_modalities_are_refused(tmp_path, ct_values):
    _write_series(tmp_path / "s", ct_values, **{"0008|0060": "MR"})
    with pytest.raises(errors.NotCtError, match="No CT series"):
        read_volume(tmp_path / "s")


def test_two_like_series_ask_for_a_choice(tmp_path, ct_values):
    _write_series(tmp_path / "s" / "a", ct_values, **{"0008|103e": "arterial"})
    _write_series(tmp_path / "s" / "b", ct_values - 1, uid="1.2.3.2", **{"0008|103e": "portal"})
    with pytest.raises(errors.SeriesChoiceError, match=r"arterial.*portal|portal.*arterial"):
        read_volume(tmp_path / "s")
    assert {item.description for item in list_series(tmp_path / "s")} == {"arterial", "portal"}
    assert np.array_equal(read_volume(tmp_path / "s", "1.2.3.2").array, (ct_values - 1).clip(-1024))
    assert np.array_equal(read_volume(tmp_path / "s", "arterial").array, ct_values)
    with pytest.raises(errors.SeriesChoiceError, match='no series "venous"'):
        read_volume(tmp_path / "s", "venous")


def test_a_scout_beside_the_scan_is_passed_over_with_a_warning(tmp_path, ct_values):
    _write_series(tmp_path / "s", ct_values)
    _write_series(tmp_path / "s", ct_values[:1], uid="1.2.3.9", name="scout", **{"0020|0037": "0\\1\\0\\0\\0\\-1"})
    events = []
    assert read_volume(tmp_path / "s", on_event=events.append).shape == ct_values.shape
    assert any(isinstance(event, Warn) and "Of 2 series" in event.message for event in events)


def test_other_files_in_the_folder_do_not_matter(tmp_path, ct_values):
    _write_series(tmp_path / "s", ct_values)
    (tmp_path / "s" / "readme.txt").write_text("not an image")
    (tmp_path / "s" / "empty").touch()
    (tmp_path / "s" / "report.dcm").write_bytes(bytes(128) + b"DICM" + bytes(300))
    events = []
    assert read_volume(tmp_path / "s", on_event=events.append).shape == ct_values.shape
    assert any(isinstance(event, Warn) and "report.dcm" in event.message for event in events)


def test_unsupported_compression_is_named(tmp_path, shared_data):
    source = shared_data / "totalsegmentator_example" / "dicom"
    for number, path in enumerate(sorted(source.iterdir())[:4]):
        shutil.copy(path, tmp_path / f"{number}.dcm")
        data = (tmp_path / f"{number}.dcm").read_bytes()
        assert data.count(b"1.2.840.10008.1.2.4.90", 0, 1000) == 1  # JPEG 2000
        (tmp_path / f"{number}.dcm").write_bytes(data.replace(b"1.2.4.90", b"1.2.4.99", 1))
    with pytest.raises(errors.UnsupportedInputError, match=r"4\.99"):
        read_volume(tmp_path)


def test_truncated_slices_are_refused(tmp_path, ct_values):
    _write_series(tmp_path / "s", ct_values)
    for path in (tmp_path / "s").iterdir():
        path.write_bytes(path.read_bytes()[:-60])
    with pytest.raises(errors.InputError):
        read_volume(tmp_path / "s")


def test_a_damaged_slice_is_refused_or_leaves_the_rest_as_it_was(tmp_path, ct_values):
    folder = tmp_path / "s"
    _write_series(folder, ct_values[:4])
    path = sorted(folder.iterdir())[1]
    data, rng = path.read_bytes(), np.random.default_rng(3)
    for number in range(40):
        damaged, where = bytearray(data), int(rng.integers(0, len(data)))
        damaged[where] ^= 1 << int(rng.integers(0, 8))
        path.write_bytes(bytes(damaged if number % 2 else damaged[:where]))
        try:
            volume = read_volume(folder)
        except errors.InputError:
            continue
        assert number % 2, "a truncated slice was read"
        same = [np.array_equal(a, b) for a, b in zip(volume.array, ct_values[:4])]
        assert sum(same) >= 3
