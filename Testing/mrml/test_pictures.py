"""The pictures show the segmentation over the CT where it is, with the patient's right on the left."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest
import SimpleITK as sitk

from hlfd.errors import InputError, MissingDependencyError, OutputError
from hlfd.io import write_label_map, write_volume
from hlfd.labels import KIDNEY_LABELS
from hlfd.volume import LabelMap, Volume

slicer = pytest.importorskip("slicer", reason="slicer-core is not installed: pip install 'hlfd[slicer]'")
pictures = pytest.importorskip("HLFDSegmentLib.pictures")
graphics = pytest.importorskip("HLFDSegmentLib.graphics")
SIZE = 240
NAMES = ["axial.png", "coronal.png", "sagittal.png", "surfaces.png"]


@pytest.fixture(autouse=True)
def rendering():
    try:
        graphics.prepare_rendering()
    except MissingDependencyError as error:
        pytest.skip(str(error))


def make_case(flip: tuple[int, int, int] = (1, 1, 1), turn: float = 0.0) -> tuple[Volume, LabelMap]:
    """Return a body with two kidneys and a tumour at the left, front and top, stored along any axes."""
    index = np.indices((40, 50, 60)).astype(np.float64)
    s, a, r = (index[0] - 19.5) * 5, (index[1] - 24.5) * 5, (index[2] - 29.5) * 5
    body = (r / 140) ** 2 + (a / 110) ** 2 < 1
    left = (r + 60) ** 2 + (a + 30) ** 2 + (s / 1.6) ** 2 < 28**2
    right = (r - 60) ** 2 + (a + 30) ** 2 + (s / 1.6) ** 2 < 28**2
    tumor = (r + 60) ** 2 + (a - 10) ** 2 + (s - 40) ** 2 < 24**2
    array = np.where(body, 30, -1000).astype(np.int16)
    array[left | right] = 160
    array[tumor] = 90
    labels = np.select([tumor, left, right], [2, 1, 4]).astype(np.uint8)
    affine = np.diag([5.0, 5.0, 5.0, 1.0])
    affine[:3, 3] = [-147.5, -122.5, -97.5]
    for axis, sign in enumerate(flip):
        if sign < 0:
            array, labels = (np.flip(image, 2 - axis) for image in (array, labels))
            affine[:3, 3] += affine[:3, axis] * (labels.shape[2 - axis] - 1)
            affine[:3, axis] *= -1
    rotation = np.eye(4)
    rotation[:2, :2] = [[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]]
    affine = rotation @ affine
    return Volume(np.ascontiguousarray(array), affine, "body"), LabelMap(
        np.ascontiguousarray(labels), affine, KIDNEY_LABELS
    )


def take(application, case, folder, size=SIZE):
    from HLFDSegmentLib.segmentations import segmentation_from_label_map
    from HLFDSegmentLib.volumes import volume_to_node

    volume_node = volume_to_node(application.scene, case[0])
    node = segmentation_from_label_map(application.scene, case[1], volume_node)
    return pictures.take_pictures(application.scene, application.application_logic, volume_node, node, folder, size)


def read(path) -> np.ndarray:
    return sitk.GetArrayFromImage(sitk.ReadImage(str(path))).astype(int)


def place_of_tumor(path) -> np.ndarray:
    """Return the mean (x, y) of the tumour's red in the picture, as fractions from the upper left corner."""
    image = read(path)
    height, width = image.shape[:2]
    red = (image[..., 0] - image[..., 1] > 45) & (image[..., 1] - image[..., 2] < 25)
    red[round(0.7 * height) :, : round(0.4 * width)] = False  # the legend
    assert red.sum() > 30
    y, x = np.argwhere(red).mean(axis=0)
    return np.array([x / width, y / height])


@pytest.mark.parametrize("flip", [(1, 1, 1), (-1, -1, 1), (-1, 1, 1), (1, -1, -1)], ids=["RAS", "LPS", "LAS", "RPI"])
def test_left_is_right_front_is_up_and_top_is_up_however_the_image_is_stored(application, tmp_path, flip):
    take(application, make_case(flip), tmp_path)
    x, y = place_of_tumor(tmp_path / "axial.png")
    assert x > 0.6, "the patient's left is on the right"
    assert y < 0.5, "the front is on top"
    x, y = place_of_tumor(tmp_path / "coronal.png")
    assert x > 0.6
    assert y < 0.45, "the head is on top"
    x, y = place_of_tumor(tmp_path / "sagittal.png")
    assert x < 0.5, "the front is on the left"
    assert y < 0.45
    x, y = place_of_tumor(tmp_path / "surfaces.png")
    assert x > 0.6
    assert y < 0.5


def test_an_oblique_image_is_shown_along_the_patients_axes(application, tmp_path):
    take(application, make_case((1, 1, 1), turn=np.radians(30)), tmp_path / "turned")
    take(application, make_case(), tmp_path / "straight")
    turned, straight = (place_of_tumor(tmp_path / name / "axial.png") for name in ("turned", "straight"))
    assert turned[1] > straight[1] + 0.03, "turned to the left, what lies left of the middle moves backwards"


def test_the_overlay_lets_the_ct_be_read_underneath(application, tmp_path):
    volume, labels = make_case()
    array = volume.array.copy()
    stripes = (np.indices(array.shape)[2] % 4 < 2) & (labels.array == 4)
    array[stripes] = 20
    take(application, (Volume(array, volume.affine), labels), tmp_path)
    image = read(tmp_path / "axial.png")
    row = image[round(0.62 * SIZE), round(0.2 * SIZE) : round(0.4 * SIZE)].sum(axis=1)
    assert np.ptp(row) > 60


def test_every_picture_is_described_and_filled(application, tmp_path):
    described = take(application, make_case(), tmp_path)
    assert [picture.file for picture in described] == NAMES
    written = json.loads((tmp_path / "pictures.json").read_text(encoding="utf-8"))
    assert written["target"]["name"] == "kidney tumor"
    assert [picture["file"] for picture in written["pictures"]] == NAMES
    assert "largest kidney tumor" in written["pictures"][0]["caption"]
    assert "right is on the left" in written["pictures"][0]["caption"]
    for name in NAMES:
        image = read(tmp_path / name)
        assert image.shape == (SIZE, SIZE, 3)
        assert image.std() > 20


def test_the_slices_go_through_the_lesion(application, tmp_path):
    axial, coronal, sagittal, _ = take(application, make_case(), tmp_path)
    assert axial.center_ras[2] == pytest.approx(40, abs=5)
    assert coronal.center_ras[1] == pytest.approx(10, abs=5)
    assert sagittal.center_ras[0] == pytest.approx(-60, abs=5)


def test_nothing_segmented_still_gives_pictures_that_say_so(application, tmp_path):
    volume, labels = make_case()
    empty = LabelMap(np.zeros_like(labels.array), labels.affine, KIDNEY_LABELS)
    described = take(application, (volume, empty), tmp_path)
    assert "nothing was segmented" in described[0].caption
    assert read(tmp_path / "surfaces.png").std() > 5


def test_taking_pictures_leaves_no_views_in_the_scene(application, tmp_path):
    scene = application.scene
    take(application, make_case(), tmp_path, 80)
    left = [scene.GetNthNode(index) for index in range(scene.GetNumberOfNodes())]
    views = ("vtkMRMLSliceNode", "vtkMRMLViewNode", "vtkMRMLSliceCompositeNode", "vtkMRMLModelNode")
    assert not [node.GetID() for node in left if node.GetClassName() in views]


def test_a_size_beyond_limits_is_refused(application, tmp_path):
    with pytest.raises(InputError, match="64 to 4096"):
        take(application, make_case(), tmp_path, 10)


def test_a_folder_that_cannot_be_made_is_refused(application, tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(OutputError, match="Cannot make the folder"):
        take(application, make_case(), tmp_path / "file" / "deeper")


def test_the_command_makes_pictures_from_files_without_trame_torch_or_display(tmp_path):
    volume, labels = make_case((-1, -1, 1))
    write_volume(volume, tmp_path / "ct.nii.gz")
    write_label_map(labels, tmp_path / "labels.seg.nrrd")
    script = (
        "import sys; from HLFDSegmentLib.pictures import main; code = main(sys.argv[1:]);"
        "print([name for name in ('trame', 'trame_slicer', 'torch', 'qt') if name in sys.modules]); sys.exit(code)"
    )
    arguments = ["--volume", tmp_path / "ct.nii.gz", "--segmentation", tmp_path / "labels.seg.nrrd"]
    command = [sys.executable, "-c", script, *map(str, arguments), "--out", str(tmp_path / "out"), "--size", "200"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "[]"
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [*NAMES[:2], "pictures.json", *NAMES[2:]]
    assert place_of_tumor(tmp_path / "out" / "axial.png")[0] > 0.6


def test_the_command_names_what_is_missing(tmp_path, caplog):
    volume, _ = make_case()
    write_volume(volume, tmp_path / "ct.nrrd")
    code = pictures.main(
        ["--volume", str(tmp_path / "ct.nrrd"), "--segmentation", str(tmp_path / "no.seg.nrrd"), "--out", str(tmp_path)]
    )
    assert code == 1
    assert "no.seg.nrrd" in caplog.text
