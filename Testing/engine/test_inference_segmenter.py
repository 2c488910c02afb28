import itertools
import json
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hlfd.config import SegmentSettings
from hlfd.errors import CancelledError
from hlfd.events import CancelToken, Progress, Stage, Warn
from hlfd.inference import Segmenter, segment
from hlfd.labels import KIDNEY_LABELS
from hlfd.volume import Volume

CPU = SegmentSettings(backend="openvino")


def dice(a, b):
    return 2 * np.count_nonzero(a & b) / (np.count_nonzero(a) + np.count_nonzero(b))


@pytest.fixture(scope="module")
def segmenter(exact_package):
    return Segmenter(exact_package, CPU)


@pytest.fixture(scope="module")
def result(segmenter, patient):
    return segmenter.run(patient[0])


def test_kidneys_tumor_and_cyst_are_found(result, patient):
    found = {name: dice(result.label_map.mask(name), mask) for name, mask in patient[1].items()}
    assert min(found["left kidney"], found["right kidney"]) > 0.97
    assert found["kidney tumor"] > 0.93
    assert found["kidney cyst"] > 0.9


def test_the_result_says_what_was_measured_and_how(result, patient):
    volume, masks = patient
    assert result.mode == "roi"
    assert result.backend == "openvino"
    assert result.label_map.same_grid(volume)
    left = next(s for s in result.structures if s.name == "left kidney")
    assert left.volume_ml == pytest.approx(masks["left kidney"].sum() * volume.voxel_ml, rel=0.05)
    assert left.hu_mean == pytest.approx(200, abs=5)
    tumor, cyst = (
        next(lesion for lesion in result.lesions if lesion.name == n) for n in ("kidney tumor", "kidney cyst")
    )
    assert (tumor.side, cyst.side) == ("left", "right")
    assert tumor.longest_diameter_mm == pytest.approx(30, abs=3)
    assert tumor.axial_long_mm == pytest.approx(30, abs=3)
    assert tumor.centroid_ras == pytest.approx((-70, -12, 128), abs=2)
    assert {"prepare", "locate", "refine", "postprocess", "export", "measure", "total"} <= set(result.timing)
    assert len(result.regions) == 2
    json.dumps(result.to_dict())


def stored(volume, axes, flips):
    """Store the same scan with permuted (k, j, i) axes, then flipped ones; returns the volume and a way back."""
    affine = volume.affine.copy()
    affine[:, :3] = volume.affine[:, [2 - axes[2 - c] for c in range(3)]]
    array = volume.array.transpose(axes)
    for axis in flips:
        column = 2 - axis
        affine[:3, 3] += affine[:3, column] * (array.shape[axis] - 1)
        affine[:3, column] *= -1
    back = np.argsort(axes)
    return Volume(np.ascontiguousarray(np.flip(array, flips)), affine), lambda a: np.flip(a, flips).transpose(back)


@pytest.mark.parametrize(
    ("axes", "flips"), [*itertools.product([(0, 1, 2), (2, 0, 1)], [(0,), (1, 2)]), ((1, 0, 2), ())]
)
def test_flipped_and_permuted_files_give_exactly_the_same_result(segmenter, result, patient, axes, flips):
    volume, back = stored(patient[0], axes, flips)
    other = segmenter.run(volume)
    np.testing.assert_array_equal(back(other.label_map.array), result.label_map.array)
    assert [lesion.side for lesion in other.lesions] == [lesion.side for lesion in result.lesions]
    for a, b in zip(other.lesions, result.lesions):
        assert a.centroid_ras == pytest.approx(b.centroid_ras, abs=1e-3)
        assert a.volume_ml == pytest.approx(b.volume_ml)


@pytest.mark.parametrize("axis", ["x", "z"])
def test_an_obliquely_resampled_scan_gives_the_same_segmentation(segmenter, result, patient, axis):
    import SimpleITK as sitk

    angle = np.radians(20)
    turn = np.eye(3)
    keep = "xyz".index(axis)
    a, b = [n for n in range(3) if n != keep]
    turn[[a, a, b, b], [a, b, a, b]] = [np.cos(angle), -np.sin(angle), np.sin(angle), np.cos(angle)]
    shape, spacing = (96, 100, 110), 2.5
    center = patient[0].affine @ [*(np.array(patient[0].array.shape[::-1]) / 2), 1.0]
    affine = np.eye(4)
    affine[:3, :3] = turn * spacing
    affine[:3, 3] = center[:3] - affine[:3, :3] @ (np.array(shape[::-1]) / 2)

    def image(array, matrix):
        made = sitk.GetImageFromArray(array)
        lengths = np.linalg.norm(matrix[:3, :3], axis=0)
        made.SetSpacing(lengths.tolist())
        made.SetDirection((matrix[:3, :3] / lengths).ravel().tolist())
        made.SetOrigin(matrix[:3, 3].tolist())
        return made

    grid = image(np.zeros(shape, np.int16), affine)
    source = image(patient[0].array, patient[0].affine)
    turned = sitk.GetArrayFromImage(sitk.Resample(source, grid, sitk.Transform(), sitk.sitkLinear, -1000))
    other = segmenter.run(Volume(turned, affine))
    there = sitk.Resample(
        image(result.label_map.array, patient[0].affine), grid, sitk.Transform(), sitk.sitkNearestNeighbor
    )
    expected = sitk.GetArrayFromImage(there)
    assert dice(other.label_map.array > 0, expected > 0) > 0.96
    assert dice(np.isin(other.label_map.array, 1), np.isin(expected, 1)) > 0.93
    assert dice(np.isin(other.label_map.array, 4), np.isin(expected, 4)) > 0.93
    assert other.lesions[0].centroid_ras == pytest.approx(result.lesions[0].centroid_ras, abs=2)
    assert [lesion.side for lesion in other.lesions[:2]] == ["left", "right"]


def test_float_volumes_give_the_same_result(segmenter, result, patient):
    volume = Volume(patient[0].array.astype(np.float32), patient[0].affine)
    np.testing.assert_array_equal(segmenter.run(volume).label_map.array, result.label_map.array)


def test_box_mode_finds_the_same(exact_package, result, patient):
    box = segment(patient[0], exact_package, replace(CPU, mode="box"))
    assert box.mode == "box"
    assert dice(box.label_map.array > 0, result.label_map.array > 0) > 0.99


def test_a_small_memory_cap_gives_the_same_result_by_tiles(exact_package, patient):
    whole = segment(patient[0], exact_package, replace(CPU, mode="box"))
    tiled = segment(patient[0], exact_package, replace(CPU, mode="box", memory_mb=64))
    np.testing.assert_array_equal(whole.label_map.array, tiled.label_map.array)


def test_without_an_organ_the_whole_body_is_searched_with_a_warning(segmenter):
    events = []
    result = segmenter.run(Volume(np.full((20, 60, 60), 20, np.int16), np.diag([4.0, 4.0, 4.0, 1.0])), events.append)
    assert result.mode == "box"
    assert "whole body" in result.warnings[-1]
    assert Warn(result.warnings[-1]) in events
    assert not result.label_map.array.any()
    assert result.lesions == ()


def test_in_roi_mode_an_absent_organ_gives_an_empty_result_with_a_warning(exact_package):
    volume = Volume(np.full((20, 60, 60), 20, np.int16), np.diag([4.0, 4.0, 4.0, 1.0]))
    result = segment(volume, exact_package, replace(CPU, mode="roi"))
    assert result.mode == "roi"
    assert not result.label_map.array.any()
    assert "No kidney" in result.warnings[-1]


def test_a_package_without_a_locator_searches_the_whole_body_and_says_so(exact_package, patient):
    result = segment(patient[0], replace(exact_package, locator=None), replace(CPU, mode="roi"))
    assert result.mode == "box"
    assert "no locator" in result.warnings[-1]
    assert result.label_map.array.any()


def test_stages_and_progress_are_told_in_order(segmenter, patient):
    events = []
    segmenter.run(patient[0], events.append)
    stages = [event.name for event in events if isinstance(event, Stage)]
    assert stages[:3] == ["prepare", "locate", "refine"]
    assert stages[-1] == "measure"
    done = [event.done for event in events if isinstance(event, Progress)]
    assert done == sorted(done)
    assert done[-1] == 1


def test_a_cancelled_run_stops(segmenter, patient):
    token = CancelToken()

    def cancel_at_refine(event):
        if event == Stage("refine"):
            token.cancel()

    with pytest.raises(CancelledError):
        segmenter.run(patient[0], cancel_at_refine, token)


SCRIPT = """
import sys
import numpy as np
from pathlib import Path
from hlfd.config import SegmentSettings
from hlfd.inference import segment
from hlfd.labels import KIDNEY_LABELS
from hlfd.models.package import ModelPackage, NetworkEntry
from hlfd.volume import Volume
class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("torch", "monai", "scipy", "safetensors", "rich", "yaml"):
            raise ImportError(name + " is not installed")
sys.meta_path.insert(0, Refuse())
folder = Path(sys.argv[1])
def entry(name, spacing, *classes):
    ir = folder / (name + ".xml")
    return NetworkEntry("none", {}, folder / name, ir, spacing, ((-1000.0, 1000.0),), classes, 8, {})
networks = entry("locator", 3.0, "background", "kidney"), entry("refiner", 1.5, "background", "kidney", "tumor", "cyst")
rules = {"organs": ["kidney"]}
package = ModelPackage(folder, "t", "1", "kidney tumor", True, "", "", KIDNEY_LABELS, *networks, None, rules, {})
volume = Volume(np.load(sys.argv[2]), np.diag([2.5, 2.5, 2.5, 1.0]))
result = segment(volume, package, SegmentSettings())
heavy = {"torch", "monai", "scipy", "safetensors", "rich", "yaml"} & set(sys.modules)
print(result.backend, int((result.label_map.array > 0).sum()), sorted(heavy))
"""


def test_a_cpu_segmentation_needs_neither_torch_nor_monai(exact_package, result, patient, tmp_path):
    np.save(tmp_path / "hu.npy", patient[0].array)
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(exact_package.folder), str(tmp_path / "hu.npy")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.split(None, 2) == ["openvino", str(np.count_nonzero(result.label_map.array)), "[]\n"], (
        done.stderr
    )


@st.composite
def volumes(draw):
    """Draw volumes of one voxel to odd sizes, any orthogonal affine, both types, plain to wild values."""
    shape = draw(st.tuples(*[st.one_of(st.integers(1, 7), st.integers(1, 40))] * 3))
    spacing = draw(st.tuples(*[st.floats(0.3, 9.5)] * 3))
    angles = draw(st.tuples(*[st.sampled_from([0.0, 0.0, 0.01, 0.3, 0.785, 1.5708, 3.0])] * 3))
    matrix = np.eye(3)
    for axis, angle in enumerate(angles):
        a, b = [n for n in range(3) if n != axis]
        turn = np.eye(3)
        turn[[a, a, b, b], [a, b, a, b]] = [np.cos(angle), -np.sin(angle), np.sin(angle), np.cos(angle)]
        matrix = matrix @ turn
    affine = np.eye(4)
    affine[:3, :3] = matrix * draw(st.sampled_from([1.0, -1.0])) * spacing
    affine[:3, 3] = draw(st.tuples(*[st.floats(-1000, 1000)] * 3))
    kind = draw(st.sampled_from(["noise", "flat", "body", "wild"]))
    rng = np.random.default_rng(draw(st.integers(0, 1000)))
    low, high = {"noise": (-1000, 1000), "flat": (0, 1), "body": (20, 60), "wild": (-32768, 32767)}[kind]
    array = rng.integers(low, high, shape).astype(draw(st.sampled_from([np.int16, np.float32])))
    return Volume(array * (np.float32(1e30) if kind == "wild" and array.dtype == np.float32 else 1), affine)


@pytest.fixture(scope="module")
def random_segmenter(random_package):
    return Segmenter(random_package, SegmentSettings(backend="openvino", threads=1))


@settings(
    max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(volume=volumes())
def test_any_volume_is_segmented_on_its_own_grid(random_segmenter, volume):
    result = random_segmenter.run(volume)
    assert result.label_map.same_grid(volume)
    assert set(np.unique(result.label_map.array)) <= {0, *(label.value for label in KIDNEY_LABELS)}
    for structure in result.structures:
        assert structure.voxels == np.count_nonzero(result.label_map.array == structure.value)
    json.dumps(result.to_dict(), allow_nan=False)
