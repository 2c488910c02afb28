"""Export of model packages: the files run in the programs they are for, and give what torch gives."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
import textwrap
from dataclasses import replace
from io import StringIO
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch

from hlfd.cli.main import run
from hlfd.config import SegmentSettings
from hlfd.errors import ConfigError, OutputError
from hlfd.inference.backends import OpenvinoBackend
from hlfd.inference.segmenter import Segmenter
from hlfd.io import read_volume, write_volume
from hlfd.models.build import load_network
from hlfd.models.export import export_package
from hlfd.models.export_code import PACKAGE, needed_files
from hlfd.models.package import file_sha256
from hlfd.models.registry import find
from hlfd.models.resources import sample_folder
from hlfd.preprocess.intensity import window_channels
from hlfd.teachers import load_teacher
from hlfd.volume import Volume

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of torch.jit
TOLERANCE = 1e-3


@pytest.fixture(scope="module")
def kidney():
    return find("kidney")


@pytest.fixture(scope="module")
def sample() -> Volume:
    """Every second voxel of the sample CT, which still holds both kidneys with their masses."""
    volume = read_volume(sample_folder() / "sample_ct.nii.gz")
    return Volume(np.ascontiguousarray(volume.array[::2, ::2, ::2]), volume.affine @ np.diag([2, 2, 2, 1]), "sample")


@pytest.fixture(scope="module")
def exports(kidney, tmp_path_factory) -> dict[str, Path]:
    """Every export of the model; that to OpenVINO by the command line, which tells ``told.json`` beside it."""
    root = tmp_path_factory.mktemp("exports")
    made = {target: export_package(kidney, target, root / target) for target in ("onnx", "bundle")}
    out = StringIO()
    assert run(["export", "kidney", "--to", "openvino", "--out", str(root / "openvino"), "--json"], out) == 0
    (root / "told.json").write_text(out.getvalue())
    return {**made, "openvino": root / "openvino"}


def ct_block(entry, sample: Volume) -> np.ndarray:
    """A block of the CT around a kidney as network input, of a size that no export was traced with."""
    hu = sample.array[10:58, 30:62, 20:84].astype(np.float32)
    return window_channels(hu, entry.windows)


@pytest.mark.parametrize("role", ["locator", "refiner"])
def test_onnx_gives_the_logits_of_torch(kidney, exports, sample, role):
    entry = getattr(kidney, role)
    image = ct_block(entry, sample)
    with torch.inference_mode():
        expected = load_network(entry)(torch.from_numpy(image)).numpy()
    session = onnxruntime.InferenceSession(str(exports["onnx"] / f"{role}.onnx"), providers=["CPUExecutionProvider"])
    np.testing.assert_allclose(session.run(None, {"image": image})[0], expected, atol=TOLERANCE, rtol=0)


@pytest.mark.parametrize("role", ["locator", "refiner"])
def test_openvino_gives_the_logits_of_torch(kidney, exports, sample, role):
    entry = getattr(kidney, role)
    image = ct_block(entry, sample)
    with torch.inference_mode():
        expected = load_network(entry)(torch.from_numpy(image))[0].numpy()
    found = OpenvinoBackend(exports["openvino"] / f"{role}.xml", threads=1).infer(image)
    np.testing.assert_allclose(found, expected, atol=TOLERANCE, rtol=0)


def test_the_bundle_gives_the_label_map_of_segment(kidney, exports, sample, tmp_path):
    """As a user runs it, elsewhere, and with the code that lies in the bundle."""
    import nibabel

    write_volume(sample, tmp_path / "ct.nii.gz")
    code = """
        import sys
        from monai.bundle import run
        root, image, out = sys.argv[1:]
        settings = {"backend": "torch", "device": "cpu", "threads": 1}
        run(config_file=f"{root}/configs/inference.json", bundle_root=root, image=image, output_dir=out, **settings)
        import hlfd.inference.segmenter
        print(hlfd.inference.segmenter.__file__)
    """
    paths = [str(exports["bundle"]), str(tmp_path / "ct.nii.gz"), str(tmp_path / "out")]
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", textwrap.dedent(code), *paths],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert str(exports["bundle"]) in done.stdout.splitlines()[-1]
    written = nibabel.load(tmp_path / "out" / "ct_seg.nii.gz")
    expected = Segmenter(kidney, SegmentSettings(backend="torch", device="cpu", threads=1)).run(sample).label_map
    assert set(np.unique(expected.array)) == {0, 1, 2, 3, 4}
    np.testing.assert_array_equal(np.asarray(written.dataobj).T, expected.array)
    np.testing.assert_allclose(written.affine, expected.affine, atol=1e-4)


@pytest.mark.parametrize("turn", ["as it is", "flipped and permuted", "oblique"])
def test_the_inferer_of_the_bundle_gives_the_label_map_of_segment(models_folder, make, turn):
    from monai.data import MetaTensor

    from hlfd.models.export_runtime import BundleSegmenter

    volume, _ = make.patient(spacing=(4.0, 4.0, 5.0))
    array, affine = volume.array, volume.affine.copy()
    if turn == "flipped and permuted":
        array, affine = np.ascontiguousarray(array.transpose(2, 0, 1)[:, ::-1]), affine[:, [1, 2, 0, 3]]
        affine[:3, 3] += affine[:3, 1] * (array.shape[1] - 1)
        affine[:3, 1] *= -1
    if turn == "oblique":
        cosine, sine = np.cos(np.radians(12)), np.sin(np.radians(12))
        affine = np.array([[cosine, -sine, 0, 0], [sine, cosine, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]) @ affine
    folder = models_folder / "exact" / "1.0.0"
    expected = Segmenter(find(folder), SegmentSettings(threads=1)).run(Volume(array, affine)).label_map
    image = MetaTensor(torch.from_numpy(array.T.astype(np.float32).copy())[None], affine=torch.from_numpy(affine))
    found = BundleSegmenter(str(folder), threads=1)(image)
    assert expected.array.any()
    np.testing.assert_array_equal(found[0].numpy().T, expected.array)
    np.testing.assert_allclose(found.affine, affine)


@pytest.mark.slow
def test_the_bundle_runs_on_the_command_line_of_monai(exports, tmp_path):
    import nibabel

    image = sample_folder() / "sample_ct.nii.gz"
    command = [sys.executable, "-m", "monai.bundle", "run", "--config_file", "configs/inference.json"]
    command += ["--bundle_root", ".", "--image", str(image), "--output_dir", str(tmp_path / "out")]
    done = subprocess.run(command, cwd=exports["bundle"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    written = np.asarray(nibabel.load(tmp_path / "out" / "sample_ct_seg.nii.gz").dataobj)
    assert run(["segment", str(image), str(tmp_path / "hlfd.nii.gz")]) == 0
    np.testing.assert_array_equal(written, np.asarray(nibabel.load(tmp_path / "hlfd.nii.gz").dataobj))


def test_monai_finds_the_bundle_complete_and_its_network_as_described(exports, monkeypatch):
    from monai.bundle import ConfigWorkflow, verify_net_in_out

    monkeypatch.chdir(exports["bundle"])
    files = {"config_file": "configs/inference.json", "meta_file": "configs/metadata.json"}
    verify_net_in_out("network_def", **files, bundle_root=".", n=2, device="cpu")  # raises where they differ
    workflow = ConfigWorkflow(workflow_type="inference", **files, bundle_root=".")
    workflow.initialize()
    assert workflow.check_properties() == []


def test_the_bundle_without_an_image_says_what_to_name(exports):
    from hlfd.errors import InputError
    from hlfd.models.export_runtime import CaseLoop

    with pytest.raises(InputError, match=r"no image to segment.*--image"):
        CaseLoop([], print, print).run()
    config = json.loads((exports["bundle"] / "configs" / "inference.json").read_text())
    assert config["evaluator"]["_target_"].endswith(".CaseLoop")


def test_the_bundle_is_a_teacher(kidney, exports, sample):
    teacher = load_teacher({"source": str(exports["bundle"]), "taps": {"e2": "network.network.encoder.0"}})
    assert (teacher.classes, teacher.orientation) == (kidney.refiner.classes, "RAS")
    image = torch.from_numpy(ct_block(kidney.refiner, sample))
    with torch.inference_mode():
        expected = load_network(kidney.refiner)(image)
    found = teacher.module(image.permute(0, 1, 4, 3, 2)).permute(0, 1, 4, 3, 2)
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=0)


@pytest.mark.parametrize("target", ["onnx", "openvino", "bundle"])
def test_every_export_carries_card_licence_and_checksums(kidney, exports, target):
    folder = exports[target]
    record = json.loads((folder / "export.json").read_text())
    readme = (folder / ("docs/README.md" if target == "bundle" else "README.md")).read_text()
    assert kidney.notice in readme
    assert "## Limits" in readme
    assert "CC-BY-NC-SA-4.0" in (folder / "LICENSE").read_text()
    assert (record["package"], record["target"]) == (f"{kidney.name}/{kidney.version}", target)
    assert record["networks"]["refiner"]["largest_logit_difference"] <= TOLERANCE
    assert record["networks"]["refiner"]["classes"] == list(kidney.refiner.classes)
    files = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()} - {"export.json"}
    files = {name for name in files if "__pycache__" not in name}  # of the runs of other tests
    assert files == set(record["sha256"])
    assert record["sha256"]["LICENSE"] == file_sha256(folder / "LICENSE")


def test_the_bundle_carries_all_code_that_its_code_imports(exports):
    carried = {path.relative_to(exports["bundle"]) for path in (exports["bundle"] / "hlfd").rglob("*.py")}
    assert carried == {Path("hlfd") / path for path in needed_files("hlfd.models.export_runtime")}
    for path in carried:
        for node in ast.walk(ast.parse((exports["bundle"] / path).read_text())):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("hlfd."):
                parts = Path(*node.module.split("."))
                assert parts.with_suffix(".py") in carried or parts / "__init__.py" in carried, (path, node.module)
    assert not any(part in ("cli", "phantom", "training") for path in carried for part in path.parts)
    assert (PACKAGE / "models" / "export_runtime.py").is_file()


class TestCommand:
    def test_an_export_is_told_as_json(self, exports):
        told = json.loads((exports["openvino"].parent / "told.json").read_text())
        assert told["folder"] == str(exports["openvino"])
        assert told["networks"]["refiner"]["file"] == "refiner.xml"

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (["export", "kidnee", "--to", "onnx", "--out", "x"], 'There is no model "kidnee"; installed are: kidney'),
            (["export", "kidney", "--to", "onxx", "--out", "x"], 'Did you mean "onnx"?'),
            (["export", "kidney", "--out", "x"], "required: --to"),
        ],
    )
    def test_what_is_not_known_is_named(self, tmp_path, monkeypatch, capsys, arguments, message):
        monkeypatch.chdir(tmp_path)
        assert run(arguments) == 2
        assert message in capsys.readouterr().err
        assert os.listdir(tmp_path) == []

    def test_an_output_that_exists_is_kept(self, kidney, tmp_path, capsys):
        (tmp_path / "mine").mkdir()
        (tmp_path / "mine" / "thesis.txt").write_text("years of work")
        arguments = ["export", "kidney", "--to", "onnx", "--out", str(tmp_path / "mine")]
        assert run(arguments) == 2
        assert "is there already. Choose a new folder, or add --overwrite" in capsys.readouterr().err
        assert run([*arguments, "--overwrite"]) == 2
        assert "is no export" in capsys.readouterr().err
        assert (tmp_path / "mine" / "thesis.txt").read_text() == "years of work"
        (tmp_path / "file").write_text("")
        with pytest.raises(OutputError, match="is there already"):
            export_package(kidney, "onnx", tmp_path / "file")

    def test_an_earlier_export_is_replaced_when_asked(self, random_package, tmp_path):
        package = _with_record(random_package)
        out = export_package(package, "onnx", tmp_path / "out")
        (out / "stale.txt").write_text("")
        export_package(package, "openvino", out, overwrite=True)
        assert (out / "refiner.xml").is_file()
        assert not (out / "stale.txt").exists()
        assert not (out / "refiner.onnx").exists()

    def test_an_unknown_target_is_named_in_python_too(self, kidney, tmp_path):
        with pytest.raises(ConfigError, match="bundle, onnx, openvino"):
            export_package(kidney, "tensorrt", tmp_path / "out")


def _with_record(package):
    """The untrained package has no model.json, from which an export reads; and one network is enough."""
    return replace(package, locator=None, metadata={"title": "Random", "provenance": {}, "sha256": {}})


FULL_DISK = """
    import resource, signal, sys
    import onnxruntime, openvino, torch  # compiled code of imports is not what is limited
    from pathlib import Path
    from hlfd.errors import DiskFullError
    from hlfd.models.export import export_package
    from hlfd.models.registry import find
    package, root = find("kidney"), Path(sys.argv[1])
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (150_000, 150_000))
    for target in ("onnx", "openvino", "bundle"):
        try:
            export_package(package, target, root / target)
        except DiskFullError as error:
            print(error.code, error.remedy)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="needs resource limits")
def test_a_full_disk_is_named_and_leaves_nothing(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(FULL_DISK), str(tmp_path)], capture_output=True, text=True, check=False
    )
    assert done.stdout.splitlines() == ["disk_full Free some space or choose another folder."] * 3, done.stderr
    assert os.listdir(tmp_path) == []
