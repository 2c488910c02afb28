"""A result is whole or not there, and a .seg.nrrd carries its table into Slicer."""

from __future__ import annotations

import subprocess
import sys
import textwrap

import numpy as np
import pytest
import SimpleITK as sitk

from hlfd import errors
from hlfd.io import read_label_map, read_volume, write_label_map, write_volume
from hlfd.labels import KIDNEY_LABELS, Label
from hlfd.volume import LabelMap

FORMATS = (".nii", ".nii.gz", ".nrrd", ".nhdr", ".mha", ".mhd", ".seg.nrrd")

FULL_DISK = """
    import resource, signal, sys
    import numpy as np
    from hlfd.errors import DiskFullError
    from hlfd.io import write_volume
    from hlfd.volume import Volume
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    noise = np.random.default_rng(0).integers(-1000, 1000, (60, 50, 70)).astype(np.int16)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
    try:
        write_volume(Volume(noise, np.eye(4)), sys.argv[1])
    except DiskFullError as error:
        print(error.code)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="needs resource limits")
def test_a_full_disk_is_named_and_leaves_the_old_file(tmp_path):
    for suffix in FORMATS[:-1]:
        path = tmp_path / f"ct{suffix}"
        path.write_bytes(b"old result")
        before = sorted(tmp_path.iterdir())
        run = subprocess.run(
            [sys.executable, "-c", textwrap.dedent(FULL_DISK), str(path)], capture_output=True, text=True, check=False
        )
        assert run.stdout.strip() == "disk_full", run.stderr
        assert path.read_bytes() == b"old result"
        assert sorted(tmp_path.iterdir()) == before


def test_a_missing_folder_and_an_unknown_suffix_are_named(tmp_path, kidney_map):
    with pytest.raises(errors.OutputError, match="cannot be written"):
        write_label_map(kidney_map, tmp_path / "none" / "a.nii.gz")
    with pytest.raises(errors.UnsupportedInputError):
        write_label_map(kidney_map, tmp_path / "a.png")


def test_an_existing_file_is_replaced_and_nothing_else_is_left(tmp_path, kidney_map):
    for suffix in FORMATS:
        path = tmp_path / f"seg{suffix}"
        path.write_bytes(b"old")
        write_label_map(kidney_map, path)
        assert np.array_equal(read_label_map(path).array, kidney_map.array)
    assert not [entry for entry in tmp_path.iterdir() if entry.name.startswith(".")]


def test_equal_volumes_make_equal_files(tmp_path, ct_volume):
    for name in ("a.nii.gz", "b.nii.gz"):
        write_volume(ct_volume, tmp_path / name)
    assert (tmp_path / "a.nii.gz").read_bytes() == (tmp_path / "b.nii.gz").read_bytes()


def test_float_volumes_keep_fractions(tmp_path, ct_volume):
    from hlfd.volume import Volume

    volume = Volume(ct_volume.array.astype(np.float32) + np.float32(0.5), ct_volume.affine)
    for suffix in FORMATS[:-1]:
        write_volume(volume, tmp_path / f"ct{suffix}")
        assert np.array_equal(read_volume(tmp_path / f"ct{suffix}").array, volume.array)


def test_seg_nrrd_reads_back_its_own_table(tmp_path, kidney_map):
    write_label_map(kidney_map, tmp_path / "a.seg.nrrd")
    again = read_label_map(tmp_path / "a.seg.nrrd")
    assert again.labels == kidney_map.labels
    assert np.array_equal(again.array, kidney_map.array)


def test_seg_nrrd_keeps_labels_without_voxels_or_terminology(tmp_path, kidney_map):
    labels = (*KIDNEY_LABELS, Label(9, "Zyste groß", (10, 20, 30)))
    write_label_map(LabelMap(kidney_map.array * 0, kidney_map.affine, labels), tmp_path / "a.seg.nrrd")
    assert read_label_map(tmp_path / "a.seg.nrrd").labels == labels


def test_layers_of_a_slicer_segmentation_are_merged(tmp_path):
    layers = np.zeros((3, 4, 5, 2), np.uint8)
    layers[0, :, :, 0] = 1
    layers[0, 0, :, 1] = 1
    layers[2, :, :, 1] = 2
    image = sitk.GetImageFromArray(layers, isVector=True)
    for number, (name, layer, value) in enumerate([("kidney", 0, 1), ("tumor", 1, 1), ("cyst", 1, 2)]):
        for key, text in {"ID": name, "Name": name, "Layer": str(layer), "LabelValue": str(value)}.items():
            image.SetMetaData(f"Segment{number}_{key}", text)
    sitk.WriteImage(image, str(tmp_path / "a.seg.nrrd"))
    label_map = read_label_map(tmp_path / "a.seg.nrrd")
    assert [(label.value, label.name) for label in label_map.labels] == [(1, "kidney"), (2, "tumor"), (3, "cyst")]
    assert np.bincount(label_map.array.ravel()).tolist() == [20, 15, 5, 20]


def test_slicer_reads_names_colours_terminology_and_places(tmp_path, kidney_map):
    slicer_core = pytest.importorskip("trame_slicer.core", reason="needs slicer-core")
    vtk = pytest.importorskip("vtkmodules.vtkCommonMath")
    path = tmp_path / "a.seg.nrrd"
    write_label_map(kidney_map, path)
    app = slicer_core.SlicerApp()
    node = app.scene.AddNewNodeByClass("vtkMRMLSegmentationNode")
    storage = app.scene.AddNewNodeByClass("vtkMRMLSegmentationStorageNode")
    storage.SetFileName(str(path))
    assert storage.ReadData(node)
    segmentation = node.GetSegmentation()
    assert segmentation.GetNumberOfSegments() == 4
    for number, label in enumerate(kidney_map.labels):
        segment = segmentation.GetNthSegment(number)
        assert segment.GetName() == label.name
        assert np.allclose(segment.GetColor(), np.array(label.color) / 255, atol=1e-3)
        assert segment.GetLabelValue() == label.value
        tag = _tag(segment, "TerminologyEntry")
        assert tag == label.terminology.to_slicer()
        image = segment.GetRepresentation("Binary labelmap")
        matrix = vtk.vtkMatrix4x4()
        image.GetImageToWorldMatrix(matrix)
        affine = np.array([[matrix.GetElement(r, c) for c in range(4)] for r in range(4)])
        assert np.allclose(affine, kidney_map.affine, atol=1e-4)
        assert _voxels(image, label.value) == np.count_nonzero(kidney_map.array == label.value)


def _tag(segment, name):
    from vtkmodules.vtkCommonCore import mutable

    value = mutable("")
    assert segment.GetTag(name, value)
    return str(value)


def _voxels(image, value):
    from vtkmodules.util.numpy_support import vtk_to_numpy

    return np.count_nonzero(vtk_to_numpy(image.GetPointData().GetScalars()) == value)
