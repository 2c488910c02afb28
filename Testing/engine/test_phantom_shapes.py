"""Kidney shapes from label maps of any orientation, with and without the KiTS19 files."""

import numpy as np
import pytest
import SimpleITK as sitk

from hlfd.data.pool import shape_of
from hlfd.errors import InputError
from hlfd.phantom import AnatomySettings, build_anatomy, kits_cases, load_kits, sheet, to_labels
from hlfd.phantom.shapes import kits_kidneys, procedural_kidneys, shared_data, to_ras
from hlfd.phantom.simulate import PhantomSettings

I_P_L = np.array([[0, 0, 1], [0, 1, 0], [-1, 0, 0]], float)  # LPS directions of the axes i, j, k, one per column


def two_kidneys():
    """Return an I-P-L label map (k = left, j = posterior, i = inferior), tumour on the upper pole of the left one."""
    array = np.zeros((90, 60, 70), np.uint8)
    array[10:25, 20:40, 15:45] = 1  # the patient's right kidney
    array[65:82, 20:40, 25:55] = 1
    array[70:78, 25:35, 20:30] = 2
    return array


def test_a_label_map_is_turned_to_ras():
    kits = to_ras(two_kidneys(), I_P_L, (2.0, 2.0, 2.0))
    tumor, kidney = np.argwhere(kits.array == 2).mean(0), np.argwhere(kits.array == 1).mean(0)
    assert tumor[2] < kidney[2]  # on the left
    assert tumor[0] > kidney[0]  # above
    assert kits.affine[0, 3] == pytest.approx(-2.0 * (81 - 44.5))


def test_kidneys_keep_their_volume_and_side():
    left, right = kits_kidneys(to_ras(two_kidneys(), I_P_L, (2.0, 2.0, 2.0)))
    assert (left.side, right.side) == ("left", "right")
    assert left.hull.sum() * 1.5**3 == pytest.approx((17 * 20 * 30 + 8 * 10 * 5) * 8, rel=0.03)
    assert left.tumor.sum() * 1.5**3 == pytest.approx(8 * 10 * 10 * 8, rel=0.05)
    assert right.hull.sum() * 1.5**3 == pytest.approx(15 * 20 * 30 * 8, rel=0.03)
    assert right.tumor.max() == pytest.approx(0, abs=1e-5)
    assert left.centre[0] == pytest.approx(-right.centre[0], abs=4)


def test_a_placed_tumour_keeps_its_volume():
    kits = to_ras(two_kidneys(), I_P_L, (2.0, 2.0, 2.0))
    settings = AnatomySettings(
        **{"spacing_mm": 3.0, "shape": (80, 100, 130), "size": 1.0, "centre_z": 0.0, "shift_mm": 0.0},
        **{"tumors": 0, "cysts": 0, "mirror": False, "missing_kidney": "none"},
    )
    labels = to_labels(build_anatomy(settings, 3, kits).tissue.numpy())
    assert (labels == 2).sum() * 27 == pytest.approx(8 * 10 * 10 * 8, rel=0.45)  # stretched by up to 8 % per axis


def with_a_cyst(array):
    """Return the label map with a cyst of 8 x 8 x 8 voxels that bulges out of the lower pole of the left kidney."""
    bulging = array.copy()
    bulging[70:78, 25:33, 51:59] = 3
    return bulging


def test_a_cyst_is_part_of_the_kidney_and_known_apart():
    left, right = kits_kidneys(to_ras(with_a_cyst(two_kidneys()), I_P_L, (2.0, 2.0, 2.0)))
    assert left.cyst.sum() * 1.5**3 == pytest.approx(8**4, rel=0.05)
    assert left.hull.sum() * 1.5**3 == pytest.approx((17 * 20 * 30 + 8 * 10 * 5 + 8 * 8 * 4) * 8, rel=0.03)
    assert left.tumor.sum() * 1.5**3 == pytest.approx(8 * 10 * 10 * 8, rel=0.05)
    assert right.cyst.max() == pytest.approx(0, abs=1e-5)


@pytest.mark.parametrize("mirror", [False, True])
def test_a_placed_cyst_keeps_its_volume_and_side(mirror):
    settings = AnatomySettings(
        **{"spacing_mm": 3.0, "shape": (80, 100, 130), "size": 1.0, "centre_z": 0.0, "shift_mm": 0.0},
        **{"tumors": 0, "cysts": 0, "stones": 0, "mirror": mirror, "missing_kidney": "none"},
    )
    kits = to_ras(with_a_cyst(two_kidneys()), I_P_L, (2.0, 2.0, 2.0))
    cysts = np.argwhere(to_labels(build_anatomy(settings, 3, kits).tissue.numpy()) == 3)
    assert len(cysts) * 27 == pytest.approx(8**4, rel=0.45)  # stretched by up to 8 % per axis
    assert (cysts[:, 2].mean() > 65) == mirror


def test_a_label_map_without_kidneys_is_refused():
    with pytest.raises(InputError, match="empty"):
        to_ras(np.zeros((4, 4, 4), np.uint8), np.eye(3), (1.0, 1.0, 1.0))


def test_procedural_kidneys_have_the_size_of_kidneys():
    for seed in range(3):
        for kidney in procedural_kidneys(np.random.default_rng(seed)):
            assert 60 < kidney.hull.sum() * 1.5**3 / 1000 < 320
            assert (kidney.centre[0] < 0) == (kidney.side == "left")


def test_without_the_files_no_case_is_listed_and_a_sheet_is_still_made(tmp_path, monkeypatch):
    monkeypatch.setenv("HLFD_SHARED_DATA", str(tmp_path))
    assert kits_cases() == []
    assert load_kits(None) is None
    with pytest.raises(InputError, match="HLFD_SHARED_DATA"):
        load_kits(3)
    settings = PhantomSettings(AnatomySettings(spacing_mm=6.0, shape=(48, 56, 70), centre_z=0.0))
    written = sheet(tmp_path / "sheet.png", [1], settings)
    assert written.stat().st_size > 10_000


def test_label_maps_of_kits23_are_read_from_their_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("HLFD_KITS23", str(tmp_path))
    image = sitk.GetImageFromArray(with_a_cyst(two_kidneys()))
    image.SetSpacing((2.0, 2.0, 2.0))
    (tmp_path / "case_00210").mkdir()
    sitk.WriteImage(image, tmp_path / "case_00210" / "segmentation.nii.gz")
    assert (shape_of(210, "kits23").array == 3).sum() == 8**3
    with pytest.raises(InputError, match=r"case_00211.*HLFD_KITS23"):
        shape_of(211, "kits23")


@pytest.mark.skipif(not (shared_data() / "kits19").is_dir(), reason="the KiTS19 label maps are not at hand")
def test_a_real_case_gives_two_kidneys_of_real_size():
    kidneys = kits_kidneys(load_kits(20))
    assert [kidney.side for kidney in kidneys] == ["left", "right"]
    for kidney in kidneys:
        assert 100 < kidney.hull.sum() * 1.5**3 / 1000 < 350
