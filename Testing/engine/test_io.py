"""Volumes keep values and geometry through every format; bad input gets its own error."""

from __future__ import annotations

import gzip
import os
import struct

import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hlfd import errors
from hlfd.events import Warn
from hlfd.io import read_label_map, read_volume, write_label_map, write_volume
from hlfd.volume import LabelMap, Volume

FORMATS = (".nii", ".nii.gz", ".nrrd", ".nhdr", ".mha", ".mhd")


def _itk_image(values, spacing=(1.0, 1.0, 1.0)):
    image = sitk.GetImageFromArray(np.asarray(values))
    image.SetSpacing(spacing)
    return image


def _corner_error(a, b):
    k, j, i = a.shape
    corners = np.array([[x, y, z, 1] for x in (0, i) for y in (0, j) for z in (0, k)], float).T
    return np.abs((a.affine - b.affine) @ corners).max()


@pytest.mark.parametrize("suffix", FORMATS)
@pytest.mark.parametrize("left_handed", [False, True])
@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (0.7031, 0.7031, 5.0), (3.0, 0.5, 1.25)])
@pytest.mark.parametrize("degrees", [0.0, 90.0, 33.3, 180.0])
def test_round_trip_keeps_values_and_affine(tmp_path, ct_values, make_affine, suffix, left_handed, spacing, degrees):
    affine = make_affine(spacing, (1, -2, 0.5), degrees, left_handed, (-311.7771, 250.1234567, -1203.65))
    volume = Volume(ct_values, affine)
    write_volume(volume, tmp_path / f"ct{suffix}")
    again = read_volume(tmp_path / f"ct{suffix}")
    assert again.array.dtype == np.int16
    assert np.array_equal(again.array, ct_values)
    assert _corner_error(volume, again) < 1e-4


@pytest.mark.parametrize("suffix", FORMATS)
def test_itk_and_nibabel_see_what_was_written(tmp_path, ct_volume, suffix):
    path = tmp_path / f"ct{suffix}"
    write_volume(ct_volume, path)
    image = sitk.ReadImage(str(path))
    last = tuple(size - 1 for size in image.GetSize())
    expected = (ct_volume.affine @ [*last, 1])[:3] * [-1, -1, 1]
    assert np.allclose(image.TransformIndexToPhysicalPoint(last), expected, atol=1e-4)
    assert np.array_equal(sitk.GetArrayFromImage(image), ct_volume.array)
    if suffix.startswith(".nii"):
        nib = pytest.importorskip("nibabel")
        other = nib.load(path)
        assert np.allclose(other.affine, ct_volume.affine, atol=1e-4)
        assert np.allclose(other.get_qform(), ct_volume.affine, atol=1e-4)


def test_nifti_written_by_itk_reads_at_the_same_places(tmp_path, ct_volume):
    write_volume(ct_volume, tmp_path / "a.mha")
    sitk.WriteImage(sitk.ReadImage(str(tmp_path / "a.mha")), str(tmp_path / "b.nii.gz"))
    assert _corner_error(read_volume(tmp_path / "b.nii.gz"), ct_volume) < 1e-4


def test_slightly_sheared_sform_is_kept_as_it_is(tmp_path, ct_values):
    affine = np.diag([0.8, 0.8, 2.0, 1.0])
    affine[0, 1] = 0.004
    write_volume(Volume(ct_values, affine), tmp_path / "ct.nii.gz")
    assert np.allclose(read_volume(tmp_path / "ct.nii.gz").affine, affine, atol=1e-6)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    shape=st.tuples(*[st.integers(1, 9)] * 3),
    spacing=st.tuples(*[st.floats(0.1, 9.9)] * 3),
    axis=st.tuples(*[st.floats(0.1, 1)] * 3),
    degrees=st.floats(-180, 180),
    left_handed=st.booleans(),
    origin=st.tuples(*[st.floats(-2000, 2000)] * 3),
    suffix=st.sampled_from(FORMATS),
    dtype=st.sampled_from([np.int16, np.float32]),
    seed=st.integers(0, 2**31),
)
def test_any_grid_survives_any_format(
    tmp_path, make_affine, shape, spacing, axis, degrees, left_handed, origin, suffix, dtype, seed
):
    values = np.random.default_rng(seed).integers(-1024, 3000, shape).astype(dtype)
    values.flat[0] = -1000
    if values.size > 1:
        values.flat[1] = 50
    volume = Volume(values, make_affine(spacing, axis, degrees, left_handed, origin))
    path = tmp_path / f"ct{suffix}"
    write_volume(volume, path)
    if values.size == 1:
        with pytest.raises(errors.NotCtError):
            read_volume(path)
        return
    again = read_volume(path)
    assert np.array_equal(again.array, values)
    assert again.array.dtype == dtype
    # NIfTI stores the affine in 32 bits: 2000 mm has a resolution of 1.2e-4 mm
    assert _corner_error(volume, again) < 2e-4


@pytest.mark.parametrize("dtype", [np.int16, np.int32, np.int64, np.float32, np.float64])
@pytest.mark.parametrize("suffix", [".nrrd", ".mha"])
def test_stored_types_give_the_same_hu(tmp_path, ct_values, dtype, suffix):
    sitk.WriteImage(_itk_image(ct_values.astype(dtype)), str(tmp_path / f"ct{suffix}"))
    volume = read_volume(tmp_path / f"ct{suffix}")
    assert volume.array.dtype == (np.float32 if dtype == np.float32 else np.int16)
    assert np.array_equal(volume.array, ct_values)


def test_float64_with_fractions_becomes_float32(tmp_path, ct_values):
    sitk.WriteImage(_itk_image(ct_values + 0.25), str(tmp_path / "ct.nrrd"))
    volume = read_volume(tmp_path / "ct.nrrd")
    assert volume.array.dtype == np.float32
    assert np.allclose(volume.array, ct_values + 0.25)


@pytest.mark.parametrize("padding", [-2000, -3024, -32768])
def test_padding_is_raised_to_air(tmp_path, ct_values, padding):
    ct_values[:, :2] = padding
    write_volume(Volume(ct_values, np.eye(4)), tmp_path / "ct.nii.gz")
    assert read_volume(tmp_path / "ct.nii.gz").array.min() == -1024


def _patch(path, offset, form, *values):
    data = bytearray(path.read_bytes())
    struct.pack_into(form, data, offset, *values)
    path.write_bytes(bytes(data))


def test_nifti_rescale_slope_and_intercept_are_applied(tmp_path, ct_values):
    path = tmp_path / "ct.nii"
    write_volume(Volume((ct_values + 1024).astype(np.int16), np.eye(4)), path)
    _patch(path, 112, "<2f", 1.0, -1024.0)
    assert np.array_equal(read_volume(path).array, ct_values)


def test_nifti_qform_is_used_where_there_is_no_sform(tmp_path, ct_volume):
    path = tmp_path / "ct.nii"
    write_volume(ct_volume, path)
    _patch(path, 254, "<h", 0)
    assert _corner_error(read_volume(path), ct_volume) < 1e-3


def test_big_endian_and_nifti_2_files_read_the_same(tmp_path, ct_volume):
    nib = pytest.importorskip("nibabel")
    values = ct_volume.array.transpose(2, 1, 0)
    big = nib.Nifti1Header(endianness=">")
    big.set_data_dtype(np.int16)
    nib.save(nib.Nifti1Image(values, ct_volume.affine, big), tmp_path / "big.nii.gz")
    nib.save(nib.Nifti2Image(values, ct_volume.affine), tmp_path / "two.nii.gz")
    for name in ("big", "two"):
        volume = read_volume(tmp_path / f"{name}.nii.gz")
        assert np.array_equal(volume.array, ct_volume.array)
        assert _corner_error(volume, ct_volume) < 1e-4


def test_trailing_single_dimension_is_dropped(tmp_path, ct_volume):
    nib = pytest.importorskip("nibabel")
    values = ct_volume.array.transpose(2, 1, 0)[..., None]
    nib.save(nib.Nifti1Image(values, ct_volume.affine), tmp_path / "ct.nii.gz")
    assert read_volume(tmp_path / "ct.nii.gz").shape == ct_volume.shape


def test_real_ct_and_its_labels_share_a_grid(shared_data):
    folder = shared_data / "totalsegmentator_example"
    volume = read_volume(folder / "ct.nii.gz")
    organs = read_label_map(folder / "organs.nii.gz")
    assert volume.shape == (112, 101, 122)
    assert (volume.array.min(), volume.array.max()) == (-1024, 3382)
    assert volume.same_grid(organs)
    assert np.count_nonzero(organs.array == 1) * organs.voxel_ml == pytest.approx(1123, abs=1)


def test_thick_slices_warn(tmp_path, ct_values):
    events = []
    write_volume(Volume(ct_values, np.diag([1, 1, 6, 1])), tmp_path / "ct.nrrd")
    read_volume(tmp_path / "ct.nrrd", on_event=events.append)
    assert any(isinstance(event, Warn) and "6.0 mm" in event.message for event in events)


def _write_with(path, values, **geometry):
    image = _itk_image(values)
    for name, value in geometry.items():
        getattr(image, f"Set{name}")(value)
    sitk.WriteImage(image, str(path))


NOT_CT = {
    "unit range": np.linspace(0, 1, 240, dtype=np.float32).reshape(6, 5, 8),
    "z-scored": np.random.default_rng(0).normal(0, 1, (6, 5, 8)).astype(np.float32),
    "constant": np.zeros((6, 5, 8), np.int16),
    "all air": np.full((6, 5, 8), -1000, np.int16),
    "MR-like": np.random.default_rng(0).integers(0, 900, (6, 5, 8)).astype(np.int16),
    "without intercept": np.random.default_rng(0).integers(0, 2500, (6, 5, 8)).astype(np.uint16),
    "8 bit": np.random.default_rng(0).integers(0, 255, (6, 5, 8)).astype(np.uint8),
    "random bits": np.random.default_rng(0).integers(-32768, 32767, (6, 5, 8)).astype(np.int16),
}


@pytest.mark.parametrize("kind", NOT_CT)
def test_images_without_hu_are_refused(tmp_path, kind):
    _write_with(tmp_path / "a.nrrd", NOT_CT[kind])
    with pytest.raises(errors.NotCtError) as caught:
        read_volume(tmp_path / "a.nrrd")
    assert caught.value.code == "not_ct"
    assert caught.value.remedy


def test_images_of_other_dimensions_are_refused(tmp_path, ct_values):
    sitk.WriteImage(_itk_image(ct_values)[:, :, 3], str(tmp_path / "two.mha"))
    sitk.WriteImage(sitk.JoinSeries([_itk_image(ct_values)] * 2), str(tmp_path / "four.nii.gz"))
    sitk.WriteImage(sitk.JoinSeries([_itk_image(ct_values)] * 2), str(tmp_path / "four.nrrd"))
    for name in ("two.mha", "four.nii.gz", "four.nrrd"):
        with pytest.raises(errors.GeometryError, match=r"3-D volume was expected"):
            read_volume(tmp_path / name)


def test_colour_images_are_refused(tmp_path):
    colours = np.zeros((4, 5, 6, 3), np.uint8)
    sitk.WriteImage(sitk.GetImageFromArray(colours, isVector=True), str(tmp_path / "rgb.nrrd"))
    with pytest.raises(errors.UnsupportedInputError, match="colour"):
        read_volume(tmp_path / "rgb.nrrd")


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_nan_and_infinity_are_refused(tmp_path, ct_values, bad, dtype):
    values = ct_values.astype(dtype)
    values[2, 3, 4] = bad
    _write_with(tmp_path / "a.mha", values)
    with pytest.raises(errors.InputError, match="1 NaN or infinite"):
        read_volume(tmp_path / "a.mha")


@pytest.mark.parametrize("suffix", [".nrrd", ".mha", ".nii.gz"])
def test_spacing_above_10_mm_is_refused(tmp_path, ct_values, suffix):
    _write_with(tmp_path / f"a{suffix}", ct_values, Spacing=(1.0, 1.0, 12.0))
    with pytest.raises(errors.GeometryError, match="at most 10 mm"):
        read_volume(tmp_path / f"a{suffix}")


def test_sheared_affines_are_refused(tmp_path, ct_values):
    directions = np.eye(3)
    directions[0, 2] = 0.2
    _write_with(tmp_path / "a.nrrd", ct_values, Direction=directions.ravel().tolist())
    with pytest.raises(errors.GeometryError, match="sheared"):
        read_volume(tmp_path / "a.nrrd")


HEADER_FAULTS = {
    "singular nrrd": (".nrrd", b"(0,1,0)", b"(1,0,0)"),
    "zero nrrd": (".nrrd", b"(0,1,0)", b"(0,0,0)"),
    "zero mha": (".mha", b"ElementSpacing = 1 1 1", b"ElementSpacing = 1 0 1"),
    "singular mha": (".mha", b"TransformMatrix = 1 0 0 0 1 0", b"TransformMatrix = 1 0 0 1 0 0"),
}


@pytest.mark.parametrize("kind", HEADER_FAULTS)
def test_singular_axes_and_zero_spacing_are_refused(tmp_path, ct_values, kind):
    suffix, old, new = HEADER_FAULTS[kind]
    path = tmp_path / f"a{suffix}"
    _write_with(path, ct_values)
    data = path.read_bytes()
    assert old in data
    path.write_bytes(data.replace(old, new))
    with pytest.raises(errors.GeometryError):
        read_volume(path)


@pytest.mark.parametrize("suffix", FORMATS)
@pytest.mark.parametrize("share", [0.0, 0.02, 0.5, 0.97])
def test_truncated_files_are_refused(tmp_path, ct_values, suffix, share):
    path = tmp_path / f"a{suffix}"
    write_volume(Volume(ct_values, np.eye(4)), path)
    parts = [part for part in tmp_path.iterdir() if part.is_file()]
    largest = max(parts, key=lambda part: part.stat().st_size)
    largest.write_bytes(largest.read_bytes()[: int(share * largest.stat().st_size)])
    with pytest.raises(errors.InputError) as caught:
        read_volume(path)
    assert caught.value.remedy


def test_missing_empty_and_unknown_files_are_named(tmp_path):
    with pytest.raises(errors.MissingInputError, match="does not exist"):
        read_volume(tmp_path / "none.nii.gz")
    (tmp_path / "empty.nrrd").touch()
    with pytest.raises(errors.EmptyInputError):
        read_volume(tmp_path / "empty.nrrd")
    (tmp_path / "picture.png").write_bytes(b"\x89PNG" + bytes(200))
    with pytest.raises(errors.UnsupportedInputError, match=r"\.nii\.gz"):
        read_volume(tmp_path / "picture.png")
    (tmp_path / "folder").mkdir()
    with pytest.raises(errors.EmptyInputError, match="is empty"):
        read_volume(tmp_path / "folder")
    (tmp_path / "folder" / "note.txt").write_text("no image")
    with pytest.raises(errors.EmptyInputError, match="no DICOM"):
        read_volume(tmp_path / "folder")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_unreadable_files_are_named(tmp_path, ct_volume):
    path = tmp_path / "a.nrrd"
    write_volume(ct_volume, path)
    path.chmod(0)
    with pytest.raises(errors.InputError, match="Permission denied"):
        read_volume(path)


def test_unsupported_nrrd_compression_is_named(tmp_path, ct_values):
    path = tmp_path / "a.nrrd"
    _write_with(path, ct_values)
    data = path.read_bytes()
    path.write_bytes(data.replace(b"encoding: gzip", b"encoding: bzip2").replace(b"encoding: raw", b"encoding: bzip2"))
    with pytest.raises(errors.UnsupportedInputError):
        read_volume(path)


def test_damaged_gzip_is_detected_by_its_checksum(tmp_path, ct_values):
    path = tmp_path / "a.nii.gz"
    write_volume(Volume(ct_values, np.eye(4)), path)
    data = bytearray(path.read_bytes())
    data[-6] ^= 1
    path.write_bytes(bytes(data))
    with pytest.raises(errors.DamagedInputError):
        read_volume(path)


def test_non_ascii_and_spaced_names_work(tmp_path, ct_volume):
    folder = tmp_path / "Bäuche und Nieren 腹部"
    folder.mkdir()
    for suffix in FORMATS:
        path = folder / f"Übersicht 1{suffix}"
        write_volume(ct_volume, path)
        assert read_volume(path).same_grid(ct_volume, 1e-3)


def test_nothing_is_printed_for_a_damaged_file(tmp_path, ct_values, capfd):
    for suffix in FORMATS:
        path = tmp_path / f"a{suffix}"
        path.write_bytes(b"NRRD0004\nObjectType = Image\n" + gzip.compress(bytes(500)))
        with pytest.raises(errors.InputError):
            read_volume(path)
    captured = capfd.readouterr()
    assert captured.out == ""
    assert captured.err == ""


def test_label_maps_refuse_values_that_are_no_labels(tmp_path, ct_values):
    write_volume(Volume(ct_values, np.eye(4)), tmp_path / "ct.nrrd")
    with pytest.raises(errors.InputError, match=r"0\.\.255"):
        read_label_map(tmp_path / "ct.nrrd")


@pytest.mark.parametrize("suffix", [*FORMATS, ".seg.nrrd"])
def test_label_maps_round_trip(tmp_path, kidney_map, suffix):
    path = tmp_path / f"seg{suffix}"
    write_label_map(kidney_map, path)
    again = read_label_map(path, kidney_map.labels)
    assert np.array_equal(again.array, kidney_map.array)
    assert again.labels == kidney_map.labels
    assert isinstance(again, LabelMap)
    assert _corner_error(again, kidney_map) < 1e-4


def test_label_maps_stored_as_floats_read_as_labels(tmp_path, kidney_map):
    sitk.WriteImage(_itk_image(kidney_map.array.astype(np.float64)), str(tmp_path / "a.mha"))
    again = read_label_map(tmp_path / "a.mha")
    assert np.array_equal(again.array, kidney_map.array)
    assert [label.name for label in again.labels] == ["label 1", "label 2", "label 3", "label 4"]
