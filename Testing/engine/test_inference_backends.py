from dataclasses import replace

import numpy as np
import pytest

from hlfd.config import SegmentSettings
from hlfd.errors import DeviceError, GpuOutOfMemoryError, HlfdError, ModelError
from hlfd.events import CancelToken
from hlfd.inference.backends import OpenvinoBackend, choose_backend, load_backend
from hlfd.inference.segmenter import Segmenter
from hlfd.inference.tiling import predict, split
from hlfd.preprocess.frame import make_frame
from hlfd.preprocess.grid import Grid
from hlfd.preprocess.orientation import canonical
from hlfd.volume import Volume


def boundary(mask):
    """Return the voxels of the mask's surface and their outer neighbours."""
    edge = np.zeros(mask.shape, bool)
    for axis in range(3):
        change = np.diff(mask.astype(np.int8), axis=axis) != 0
        low = [slice(None)] * 3
        high = [slice(None)] * 3
        low[axis], high[axis] = slice(0, -1), slice(1, None)
        edge[tuple(low)] |= change
        edge[tuple(high)] |= change
    return edge


def test_both_backends_give_the_same_logits(random_package):
    hu = np.random.default_rng(0).normal(0, 300, (16, 20, 24)).astype(np.float32)
    entry = random_package.refiner
    first, second = (predict(load_backend(entry, kind, "cpu", 1), entry, hu, 1000) for kind in ("openvino", "torch"))
    np.testing.assert_allclose(first, second, atol=1e-4)


def test_both_backends_give_the_same_labels_within_one_percent_of_the_boundary(random_package, patient):
    rules = {**random_package.region, "min_ml": 0, "keep_ml": 0, "lateral_mm": 0, "contact_share": 0, "opening_mm": 0}
    package = replace(random_package, region=rules)
    volume = Volume(patient[0].array[24:40], patient[0].affine)
    results = [
        Segmenter(package, SegmentSettings(backend=kind, device="cpu", mode="box")).run(volume)
        for kind in ("openvino", "torch")
    ]
    first, second = (result.label_map.array for result in results)
    assert results[1].backend == "torch"
    assert first.any()
    assert np.count_nonzero(first != second) <= 0.01 * np.count_nonzero(boundary(first > 0))


def test_both_backends_agree_on_the_shipped_model(patient):
    from hlfd.models.registry import find

    try:
        entry = find("kidney").refiner
    except HlfdError as error:
        pytest.skip(f"no shipped model: {error}")
    frame = make_frame(canonical(patient[0]))
    hu = frame.sample(Grid((20.0, 30.0, 20.0), (entry.spacing_mm,) * 3, (64, 64, 64)))
    first, second = (
        predict(load_backend(entry, kind, "cpu", 2), entry, hu, 1000).argmax(0) for kind in ("openvino", "torch")
    )
    assert np.count_nonzero(first != second) <= 0.01 * np.count_nonzero(boundary(first > 0)) + 1


def test_openvino_is_chosen_on_a_machine_without_cuda(random_package):
    entries = (random_package.locator, random_package.refiner)
    assert choose_backend(SegmentSettings(device="cpu"), entries) == ("openvino", "cpu")


def test_torch_is_chosen_for_a_package_without_openvino_models(random_package):
    entries = (random_package.locator, replace(random_package.refiner, openvino=None))
    assert choose_backend(SegmentSettings(device="cpu"), entries) == ("torch", "cpu")


def test_a_cuda_device_that_is_absent_is_a_device_error(random_package):
    with pytest.raises(DeviceError, match="cuda:97"):
        choose_backend(SegmentSettings(device="cuda:97"), (random_package.refiner,))


def test_a_package_without_an_openvino_model_says_so(random_package):
    with pytest.raises(ModelError, match="no OpenVINO model"):
        OpenvinoBackend.load(replace(random_package.refiner, openvino=None), 1)


def test_a_damaged_openvino_model_is_a_model_error(random_package, tmp_path):
    path = tmp_path / "refiner.xml"
    path.write_bytes(random_package.refiner.openvino.read_bytes()[:500])
    with pytest.raises(ModelError, match=r"refiner\.xml"):
        OpenvinoBackend.load(replace(random_package.refiner, openvino=path), 1)


@pytest.mark.parametrize("kind", ["openvino", "torch"])
def test_the_memory_of_a_pass_is_estimated_from_the_network(random_package, kind):
    # Four full-resolution classes plus the input are 24 bytes; the widest inner step has 8 channels at an eighth.
    assert 24 <= load_backend(random_package.refiner, kind, "cpu", 1).bytes_per_voxel() <= 120


def test_tiles_cover_a_region_once_at_multiples_of_the_divisor():
    seen = np.zeros((64, 48, 80), int)
    tiles = list(split((0, 0, 0), seen.shape, seen.shape, 16, 16, 60000))
    for low, high in tiles:
        seen[tuple(slice(a, b) for a, b in zip(low, high))] += 1
        assert all(a % 16 == 0 for a in low)
    assert (seen == 1).all()
    assert len(tiles) > 1


def test_a_halo_beyond_the_receptive_field_makes_tiles_equal_to_one_pass(random_package):
    hu = np.random.default_rng(1).normal(0, 300, (96, 96, 80)).astype(np.float32)
    entry = random_package.refiner
    backend = load_backend(entry, "openvino", "cpu", 2)
    np.testing.assert_allclose(
        predict(backend, entry, hu, 16, CancelToken()), predict(backend, entry, hu, 4000), atol=1e-4
    )


class SmallGpu:
    """A backend with room for blocks of at most ``limit`` voxels: what a full GPU looks like to the pipeline."""

    device, name = "cuda:0", "torch"

    def __init__(self, backend, limit):
        self.backend, self.limit = backend, limit

    def infer(self, channels):
        if channels[0, 0].size > self.limit:
            raise GpuOutOfMemoryError("full")
        return self.backend.infer(channels)

    def bytes_per_voxel(self):
        return 1000.0


@pytest.mark.parametrize(("limit", "said"), [(900000, ["smaller blocks"]), (10, ["smaller blocks", "CPU was used"])])
def test_a_full_gpu_gets_smaller_tiles_and_at_last_the_cpu(exact_package, patient, limit, said):
    plain = Segmenter(exact_package, SegmentSettings(backend="openvino", mode="box"))
    expected = plain.run(patient[0])
    small = Segmenter(exact_package, SegmentSettings(backend="openvino", mode="box"))
    entry = exact_package.refiner
    small._loaded[str(entry.weights)] = SmallGpu(load_backend(entry, "openvino", "cpu", 1), limit)
    result = small.run(patient[0])
    np.testing.assert_array_equal(result.label_map.array, expected.label_map.array)
    assert len(result.warnings) == len(said)
    assert all(words in warning for words, warning in zip(said, result.warnings))
