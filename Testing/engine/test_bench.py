import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest

from hlfd.bench.machine import gemm_gflops, peak_rss_mb
from hlfd.bench.network import gflop, run_network_bench
from hlfd.bench.pipeline import KEYS, run_pipeline_bench
from hlfd.bench.reference import MonaiPipeline
from hlfd.errors import CancelledError
from hlfd.events import CancelToken, Stage
from hlfd.io import write_volume
from hlfd.labels import KIDNEY_LABELS


@pytest.fixture(scope="module")
def written_package(tmp_path_factory):
    """A package on disk of small untrained networks with a teacher."""
    from hlfd.models.writer import PackageFacts, TrainedNetwork, write_package
    from hlfd.networks import build_network

    def trained(classes, spacing, widths, openvino=True):
        parameters = {"in_channels": 1, "classes": len(classes), "widths": widths}
        module = build_network("s2d_unet", **parameters)
        return TrainedNetwork(module, "s2d_unet", parameters, spacing, [(-200.0, 300.0)], classes, openvino)

    kidney, all_classes = ("background", "kidney"), ("background", "kidney", "tumor", "cyst")
    facts = PackageFacts(
        "tiny", "1.0.0", "tiny", "kidney tumor", KIDNEY_LABELS, {"organs": ["kidney"]}, "Apache-2.0", ""
    )
    root = tmp_path_factory.mktemp("models")
    return write_package(
        root,
        facts,
        trained(all_classes, 3.0, (8, 16)),
        trained(kidney, 6.0, (8, 16)),
        trained(all_classes, 3.0, (16, 32), openvino=False),
    )


def test_the_matrix_product_rate_names_its_library():
    rate, library = gemm_gflops()
    assert rate > 1
    assert library in ("numpy", "openvino", "torch")


def test_peak_memory_never_falls():
    before = peak_rss_mb()
    block = np.ones(30 * 2**20, np.uint8)
    assert peak_rss_mb() >= max(before, block.nbytes / 2**20)


def test_the_work_of_a_network_is_that_of_its_convolutions(exact_package):
    # One 1x1x1 convolution from one channel to four: 2 * 4 operations a voxel.
    assert gflop(exact_package.refiner.openvino, 1, 32) == pytest.approx(8 * 32**3 / 1e9)


def test_transposed_convolutions_count_once_per_input_voxel(written_package):
    torch = pytest.importorskip("torch")
    from hlfd.models.build import load_network

    network = load_network(written_package.refiner)
    work = []

    def note(module, inputs, output):
        side = inputs[0] if isinstance(module, torch.nn.ConvTranspose3d) else output
        work.append(2 * side[0, 0].numel() * module.weight.numel())

    for module in network.modules():
        if isinstance(module, torch.nn.Conv3d | torch.nn.ConvTranspose3d):
            module.register_forward_hook(note)
    network(torch.zeros(1, 1, 32, 32, 32))
    assert gflop(written_package.refiner.openvino, 1, 32) == pytest.approx(sum(work) / 1e9)


def test_networks_are_measured_in_both_backends(written_package):
    stages = []
    result = run_network_bench(written_package, stages.append, patch=32)
    rows = {(row["network"], row["backend"]): row for row in result["networks"]}
    assert set(rows) == {(n, b) for n in ("student", "locator", "teacher") for b in ("openvino", "torch")}
    assert all(row["ms"] > 0 and 0 < row["gemm_share"] < 2 for row in rows.values())
    assert rows["teacher", "torch"]["gflop"] > rows["student", "torch"]["gflop"]
    assert Stage("student, openvino") in stages
    json.dumps(result)


def test_a_cancelled_measurement_stops(written_package):
    token = CancelToken()
    token.cancel()
    with pytest.raises(CancelledError):
        run_network_bench(written_package, cancel=token, patch=32)


def test_the_monai_pipeline_labels_the_scan_on_its_own_grid(written_package, patient, tmp_path):
    write_volume(patient[0], tmp_path / "ct.nii.gz")
    pipeline = MonaiPipeline(written_package.refiner)
    labels = pipeline.run(pipeline.load(tmp_path / "ct.nii.gz"))
    assert tuple(labels.shape[1:]) == patient[0].array.shape[::-1]
    pipeline.save(labels, tmp_path / "out")
    assert len(list((tmp_path / "out").glob("*.nii.gz"))) == 1


@pytest.mark.slow
def test_the_pipeline_measurement_gives_all_its_numbers(written_package, patient, tmp_path):
    if importlib.util.find_spec("hlfd.cli") is None:
        pytest.skip("needs the command line")
    write_volume(patient[0], tmp_path / "ct.nii.gz")
    result = run_pipeline_bench(written_package, scan=Path(tmp_path / "ct.nii.gz"), repeats=1)
    assert all(result[key] > 0 for key in KEYS)
    json.dumps(result)
