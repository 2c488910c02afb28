"""The report of a segmentation."""

from __future__ import annotations

import csv
import re
from dataclasses import replace

import pytest

from hlfd.config import SegmentSettings
from hlfd.errors import CancelledError
from hlfd.events import CancelToken
from hlfd.inference.segmenter import Segmenter
from hlfd.metrics import evaluate
from hlfd.models.package import load_package
from hlfd.report import Agreement, ReportInput, write_report
from hlfd.report.overlay import SIZE, draw_overlays


@pytest.fixture(scope="module")
def source(patient, models_folder, tmp_path_factory) -> ReportInput:
    package = load_package(models_folder / "exact" / "1.0.0")
    result = Segmenter(package, SegmentSettings(device="cpu")).run(patient[0])
    agreement = Agreement("The truth is exact.", evaluate(result.label_map, result.label_map)["groups"])
    folder = tmp_path_factory.mktemp("case")
    hostile = replace(result, warnings=("<script>alert(1)</script>",))
    image, segmentation = folder / "<img>.nii.gz", folder / "seg.nii.gz"
    return ReportInput("<b>case</b>", image, segmentation, patient[0], hostile, package, agreement)


@pytest.fixture
def without_slicer(monkeypatch) -> None:
    monkeypatch.setattr("hlfd.report.pictures.entry_points", lambda group: [])


@pytest.fixture
def page(source, tmp_path, without_slicer) -> str:
    return write_report(source, tmp_path / "report").read_text(encoding="utf-8")


def test_the_page_needs_no_other_file(page):
    assert page.count("data:image/png;base64,") == 3
    assert re.findall(r'(?:src|href)="(?!data:)', page) == []
    assert "http" not in re.sub(r"base64,[^\"]*", "", page)


def test_all_text_is_escaped(page):
    assert "<script>" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert "&lt;b&gt;case&lt;/b&gt;" in page
    assert "Exact <b>" not in page


def test_the_page_tells_lesions_time_model_agreement_and_limits(page, source):
    for words in ("kidney tumor", "Load model" if "load model" in page else "total", "exact, version 1.0.0"):
        assert words in page
    assert "Not for clinical use" in page
    assert "1.000" in page
    assert f"{source.result.lesions[0].volume_ml:.2f} ml" in page
    assert "plain overlays" in page


def test_measurements_are_one_line_per_structure_and_lesion(source, tmp_path, without_slicer):
    write_report(source, tmp_path)
    with (tmp_path / "measurements.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    kinds = [row["kind"] for row in rows]
    assert kinds.count("structure") == 4
    assert kinds.count("lesion") == len(source.result.lesions)
    assert float(rows[0]["volume_ml"]) == pytest.approx(source.result.structures[0].volume_ml)


def test_a_cancelled_report_leaves_nothing(source, tmp_path, monkeypatch):
    class Entry:
        module = "hlfd.bench.child"

    monkeypatch.setattr("hlfd.report.pictures.entry_points", lambda group: [Entry()])
    cancel = CancelToken()
    cancel.cancel()
    with pytest.raises(CancelledError):
        write_report(source, tmp_path, cancel=cancel)
    assert list(tmp_path.iterdir()) == []


def test_a_failing_picture_module_is_replaced_by_overlays_and_named(source, tmp_path, monkeypatch):
    class Entry:
        module = "hlfd.no_such_module"

    monkeypatch.setattr("hlfd.report.pictures.entry_points", lambda group: [Entry()])
    page = write_report(source, tmp_path).read_text(encoding="utf-8")
    assert "rendering failed" in page
    assert "no_such_module" in page


def test_overlays_show_the_patients_right_on_the_left(source, tmp_path):
    import numpy as np
    import SimpleITK as sitk

    picture = draw_overlays(source.volume, source.result.label_map, tmp_path)[0]
    rgb = sitk.GetArrayFromImage(sitk.ReadImage(str(picture.path))).astype(int)
    assert rgb.shape == (SIZE, SIZE, 3)
    red = np.argwhere((rgb[..., 0] - rgb[..., 1]) > 60)
    assert red[:, 1].mean() > SIZE / 2  # the tumour of the left kidney is on the picture's right


def test_the_lesions_table_says_how_sure_each_lesion_is_where_the_model_knows(source, tmp_path, without_slicer):
    from hlfd.report.tables import lesion_table

    plain = lesion_table(source.result)
    assert "real" not in plain
    lesions = tuple(replace(lesion, confidence=0.42) for lesion in source.result.lesions)
    known = lesion_table(replace(source.result, lesions=lesions))
    assert known.count("uncertain, 42\u00a0%") == len(lesions) > 0
    assert "this share was real" in known
    write_report(replace(source, result=replace(source.result, lesions=lesions)), tmp_path)
    with (tmp_path / "measurements.csv").open(newline="") as stream:
        rows = [row for row in csv.DictReader(stream) if row["kind"] == "lesion"]
    assert [row["confidence"] for row in rows] == ["0.42"] * len(lesions)
