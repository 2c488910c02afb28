"""``hlfd project`` does on the command line what the module HLFD Train does."""

from __future__ import annotations

import io
import json

import numpy as np
import pytest

from hlfd.cli.main import run
from hlfd.io import write_label_map, write_volume
from hlfd.volume import LabelMap


@pytest.fixture
def hlfd(monkeypatch, models_folder):
    """Run a command with --json and return its exit code and its object."""
    monkeypatch.setenv("HLFD_MODELS", str(models_folder))

    def call(*words):
        out = io.StringIO()
        code = run([*(str(word) for word in words), "--json"], out, io.StringIO())
        return code, json.loads(out.getvalue())

    return call


@pytest.fixture
def pair(tmp_path, ct_volume, kidney_map):
    write_volume(ct_volume, tmp_path / "ct.nii.gz")
    write_label_map(LabelMap((kidney_map.array > 0).astype(np.uint8), kidney_map.affine), tmp_path / "kidney.nii.gz")
    return tmp_path / "ct.nii.gz", tmp_path / "kidney.nii.gz"


def test_a_project_is_made_filled_listed_and_checked(hlfd, tmp_path, pair):
    folder = tmp_path / "project"
    assert hlfd("project", "create", folder, "--model", "exact")[0] == 0
    code, answer = hlfd("project", "add", folder, *pair, "--title", "First", "--role", "test")
    assert (code, answer["case"]["role"]) == (0, "test")
    code, answer = hlfd("project", "list", folder)
    assert [case["title"] for case in answer["cases"]] == ["First"]
    assert hlfd("project", "check", folder) == (0, {"command": "project check", "cases": 1, "problems": {}})
    image = folder / "cases" / "case-0001" / "image.nii"
    image.write_bytes(image.read_bytes()[:-1] + b"!")
    code, answer = hlfd("project", "check", folder)
    assert code == 1
    assert "image.nii of the case was changed" in answer["problems"]["case-0001"]


def test_what_is_refused_says_why(hlfd, tmp_path, pair):
    folder = tmp_path / "project"
    hlfd("project", "create", folder, "--model", "exact")
    assert hlfd("project", "add", folder, *pair, "--value", "1=right kidney")[0] == 0
    code, answer = hlfd("project", "add", folder, *pair)
    assert (code, answer["error"]["code"]) == (2, "duplicate_case")
    code, answer = hlfd("project", "add", folder, *pair, "--value", "1:right kidney")
    assert (code, answer["error"]["code"]) == (2, "bad_usage")
    code, answer = hlfd("project", "list", tmp_path / "none")
    assert (code, answer["error"]["code"]) == (2, "missing_input")
    (tmp_path / "cases.csv").write_text(f"image,label\n{pair[0]},{pair[1]}\n")
    code, answer = hlfd("project", "import", folder, tmp_path / "cases.csv")
    assert (code, list(answer["refused"])) == (1, ["ct"])
