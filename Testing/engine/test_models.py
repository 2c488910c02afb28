"""Installed models: found by name, imported safely, verified, removed, written."""

from __future__ import annotations

import json
import shutil
import stat
import zipfile
from pathlib import Path

import numpy as np
import pytest

from hlfd.errors import InputError, ModelError
from hlfd.labels import KIDNEY_LABELS
from hlfd.models import install as install_module
from hlfd.models.install import install
from hlfd.models.registry import find, find_folder, installed, remove, version_key


@pytest.fixture
def own_models(models_folder, tmp_path, monkeypatch) -> Path:
    root = tmp_path / "Models"
    shutil.copytree(models_folder, root)
    monkeypatch.setenv("HLFD_MODELS", str(root))
    return root


@pytest.fixture
def package(own_models) -> Path:
    return own_models / "exact" / "1.0.0"


def _zip(target: Path, files: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(target, "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return target


def _files(package: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in package.iterdir()}


def _add_version(package: Path, version: str) -> None:
    copy = package.parent / version
    shutil.copytree(package, copy)
    data = json.loads((copy / "model.json").read_text())
    (copy / "model.json").write_text(json.dumps({**data, "version": version}))


def test_a_name_finds_the_newest_version_and_a_version_finds_itself(package):
    for version in ("1.10.0", "1.9.0", "1.10.0-rc1"):
        _add_version(package, version)
    assert find("exact").version == "1.10.0"
    assert find("exact/1.9.0").version == "1.9.0"
    listed = [entry.version for entry in installed() if entry.name == "exact"]
    assert listed == ["1.10.0", "1.10.0-rc1", "1.9.0", "1.0.0"]


def test_a_path_finds_a_package(package):
    assert find(package).folder == package
    assert find_folder(str(package / "model.json")) == package


def test_an_unknown_model_lists_what_is_installed(own_models):
    with pytest.raises(ModelError, match=r'no model "exat".*exact/1\.0\.0'):
        find("exat")


def test_versions_sort_by_number():
    assert sorted(["1.0.0", "1.0.0-rc1", "0.9", "1.0.10", "1.0.9"], key=version_key) == [
        *("0.9", "1.0.0-rc1", "1.0.0", "1.0.9", "1.0.10")
    ]


def test_a_damaged_file_is_refused_and_listed_models_with_damaged_json_name_the_problem(package):
    (package / "refiner.bin").write_bytes(b"changed")
    with pytest.raises(ModelError, match="changed or is damaged"):
        find("exact")
    (package / "model.json").write_text("{")
    assert "not readable" in next(entry.problem for entry in installed() if entry.name == "exact")


@pytest.mark.parametrize("inside", ["", "exact-1.0.0/"])
def test_a_zip_is_imported_whole(models_folder, own_models, tmp_path, inside):
    files = _files(models_folder / "exact" / "1.0.0")
    archive = _zip(tmp_path / "model.zip", {inside + name: data for name, data in files.items()})
    remove("exact")
    imported = install(archive)
    assert imported.folder == own_models / "exact" / "1.0.0"
    assert _files(imported.folder) == files
    assert find("exact").version == "1.0.0"


def test_a_folder_is_imported_without_files_that_it_does_not_name(models_folder, own_models, tmp_path):
    source = tmp_path / "source"
    shutil.copytree(models_folder / "exact" / "1.0.0", source)
    (source / "notes.txt").write_text("private")
    assert not (install(source, overwrite=True).folder / "notes.txt").exists()


def test_an_installed_version_is_replaced_only_when_asked(package, tmp_path):
    archive = _zip(tmp_path / "again.zip", _files(package))
    (package / "refiner.bin").write_bytes(b"damaged")
    with pytest.raises(ModelError, match="installed already"):
        install(archive)
    assert find(install(archive, overwrite=True).folder)


@pytest.mark.parametrize(
    "name", ["../evil.txt", "/etc/evil", "C:\\evil.txt", "a/../../evil", "..\\evil", "\\\\host\\share\\evil"]
)
def test_a_path_that_leads_out_is_refused(package, tmp_path, name):
    with pytest.raises(ModelError, match="outside"):
        install(_zip(tmp_path / "evil.zip", {**_files(package), name: b"x"}), overwrite=True)
    data = json.loads((package / "model.json").read_text())
    data["sha256"][name] = "0" * 64
    (package / "model.json").write_text(json.dumps(data))
    with pytest.raises(ModelError, match="outside"):
        install(package, overwrite=True)


def test_links_are_refused(package, tmp_path):
    archive = tmp_path / "link.zip"
    with zipfile.ZipFile(archive, "w") as stream:
        link = zipfile.ZipInfo("refiner.bin")
        link.external_attr = (stat.S_IFLNK | 0o777) << 16
        stream.writestr(link, "/etc/passwd")
        stream.writestr("model.json", (package / "model.json").read_bytes())
    with pytest.raises(ModelError, match="link"):
        install(archive, overwrite=True)
    source = tmp_path / "linked"
    shutil.copytree(package, source)
    (source / "refiner.bin").unlink()
    (source / "refiner.bin").symlink_to(package / "refiner.bin")
    with pytest.raises(ModelError, match="link"):
        install(source, overwrite=True)


def test_a_zip_bomb_is_refused_before_it_fills_the_disk(package, tmp_path, monkeypatch):
    monkeypatch.setattr(install_module, "MAX_PACKAGE_BYTES", 1 << 16)
    files = {**_files(package), "refiner.bin": bytes(1 << 18)}
    with pytest.raises(ModelError, match="unpacks to more"):
        install(_zip(tmp_path / "bomb.zip", files), overwrite=True)
    monkeypatch.setattr(install_module, "_check_archive", lambda archive: "")  # headers that lie about sizes
    with pytest.raises(ModelError, match="larger than"):
        install(_zip(tmp_path / "bomb.zip", files), overwrite=True)


def test_a_failed_import_leaves_nothing(package, own_models, tmp_path):
    files = _files(package)
    remove("exact")
    with pytest.raises(ModelError, match="damaged"):
        install(_zip(tmp_path / "bad.zip", {**files, "refiner.bin": b"x"}))
    with pytest.raises(ModelError, match="lacks the file"):
        install(_zip(tmp_path / "bad.zip", {n: d for n, d in files.items() if n != "refiner.bin"}))
    assert list(own_models.iterdir()) == []


def test_what_is_no_package_is_named(tmp_path, own_models):
    (tmp_path / "text.zip").write_text("hello")
    with pytest.raises(ModelError, match="not a readable zip"):
        install(tmp_path / "text.zip")
    with pytest.raises(ModelError, match="0 files model"):
        install(_zip(tmp_path / "other.zip", {"a.txt": b"a"}))
    with pytest.raises(InputError, match="does not exist"):
        install(tmp_path / "none.zip")


def test_only_own_models_are_removed(package, own_models, monkeypatch):
    assert remove("exact/1.0.0") == package
    assert not package.parent.exists()
    with pytest.raises(ModelError, match="no model"):
        remove("exact")
    with pytest.raises(ModelError, match="no package name"):
        remove("../exact")


def test_bundled_models_are_not_removed(models_folder, tmp_path, monkeypatch):
    monkeypatch.setenv("HLFD_MODELS", str(tmp_path))
    monkeypatch.setattr("hlfd.models.registry.bundled_models", lambda: models_folder)
    with pytest.raises(ModelError, match="ships with HLFD"):
        remove("exact/1.0.0")
    assert find("exact").version == "1.0.0"


def test_written_packages_give_the_logits_of_the_trained_networks(tmp_path):
    import torch

    from hlfd.inference.backends import OpenvinoBackend
    from hlfd.models.build import load_network
    from hlfd.models.writer import PackageFacts, TrainedNetwork, write_package
    from hlfd.networks import MergeClasses, build_network

    torch.manual_seed(3)
    parameters = {"in_channels": 1, "classes": 6, "widths": (8, 12)}
    network = build_network("s2d_unet", **parameters)
    network.train()(torch.randn(2, 1, 16, 16, 16))  # batch norm statistics other than the initial ones
    merged = MergeClasses(network, [[0, 4, 5], [1], [2], [3]]).eval()
    trained = TrainedNetwork(
        merged, "s2d_unet", parameters, 1.5, [(-200, 300)], ("background", "kidney", "tumor", "cyst")
    )
    facts = PackageFacts(
        "tiny", "0.1.0", "Tiny", "kidney tumor", KIDNEY_LABELS, {"organs": ["kidney"]}, "Apache-2.0", "Demonstration."
    )
    package = write_package(tmp_path, facts, trained)
    image = torch.randn(1, 1, 16, 24, 16)
    with torch.no_grad():
        expected = merged(image).numpy()
        from_weights = load_network(package.refiner)(image).numpy()
    from_ir = OpenvinoBackend.load(package.refiner, 1).infer(image.numpy())
    scale = np.abs(expected).max()
    np.testing.assert_allclose(from_weights, expected, atol=5e-3 * scale)
    np.testing.assert_allclose(from_ir.reshape(expected.shape), expected, atol=5e-3 * scale)
    assert package.refiner.groups == ((0, 4, 5), (1,), (2,), (3,))
    assert "**Demonstration.**" in (package.folder / "README.md").read_text()
    assert [path.name for path in tmp_path.iterdir()] == ["tiny"]


def test_a_network_that_does_not_fit_its_description_is_refused(tmp_path):
    from hlfd.models.writer import PackageFacts, TrainedNetwork, write_package
    from hlfd.networks import build_network

    network = build_network("s2d_unet", in_channels=1, classes=4, widths=(8, 12))
    trained = TrainedNetwork(network, "s2d_unet", {}, 1.5, [(-200, 300)], ("background", "kidney"))
    facts = PackageFacts("tiny", "0.1.0", "", "", KIDNEY_LABELS, {}, "", "")
    with pytest.raises(ModelError, match="4 output channels"):
        write_package(tmp_path, facts, trained)
    assert list(tmp_path.iterdir()) == []
