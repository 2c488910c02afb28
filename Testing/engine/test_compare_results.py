"""Results, table and page from units whose numbers are given."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest

pytest.importorskip("torch")

from hlfd.compare.page import make_page, mean_curve
from hlfd.compare.report import write_results
from hlfd.compare.results import collect
from hlfd.compare.run import report_only
from hlfd.compare.settings import CompareSettings, read_compare
from hlfd.compare.table import comma_separated, markdown, rows_of_text
from hlfd.distillation import METHODS
from hlfd.errors import ConfigError, InputError

PROJECT = Path(__file__).resolve().parents[2]
SCANS = [f"{case:05d}_{variant:02d}" for case in (195, 196, 197) for variant in (0, 1)]
GAINS = {"none": 0.0, "kd": 0.1, "hlfd": 0.2, "hlfd + cwd logits": -0.1}
RECORD = {"teacher": {"parameters": 1_000_000, "sha256": "ab" * 32}}
VOID = {"meta", "br", "img"}


def write_units(folder: Path, gains: dict[str, float], seeds=(0, 1, 2)) -> CompareSettings:
    """Write finished units into a copy of the quick profile; Dice is 0.4 + case / 10 + seed / 100 + the gain."""
    text = (PROJECT / "configs/compare/quick.yaml").read_text(encoding="utf-8")
    path = folder / "compare.yaml"
    path.write_text(text.replace("folder: runs/compare/quick", f"folder: {folder / 'out'}"), encoding="utf-8")
    settings = read_compare(path)
    for name, gain in gains.items():
        for seed in seeds:
            dice = [0.4 + int(scan[4]) / 100 + seed / 100 + gain for scan in SCANS]
            curve = [{"step": step, "validation/dice_tumor": gain + step / 1000} for step in (100, 200)]
            unit = {
                "method": name,
                "seed": seed,
                "scores": {s: {"tumor": d, "masses": d, "kidney": 0.9} for s, d in zip(SCANS, dice)},
                "curve": curve,
                "step_ms": 100.0 + seed,
                "step_cpu_ms": 90.0,
                "memory_mb": 400.0,
                "parameters": 269_861,
                "projection_parameters": 0,
                "steps": 200,
            }
            target = settings.unit_folder(name, seed)
            target.mkdir(parents=True)
            (target / "unit.json").write_text(json.dumps(unit), encoding="utf-8")
    return settings


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    return collect(write_units(tmp_path_factory.mktemp("units"), GAINS), RECORD)


def row_of(results: dict, name: str) -> dict:
    return next(row for row in results["table"] if row["method"] == name)


def test_differences_are_those_of_the_same_case_and_seed(results):
    for name in ("kd", "hlfd"):
        difference = row_of(results, name)["tumor"]["difference"]
        assert [difference[key] for key in ("mean", "low", "high")] == pytest.approx([GAINS[name]] * 3)
    assert row_of(results, "kd")["kidney"]["difference"]["mean"] == pytest.approx(0)
    assert row_of(results, "none")["tumor"]["sd"] == pytest.approx(0.01)
    assert row_of(results, "kd")["tumor"]["per_case"] == pytest.approx([0.1] * 3)


def test_scans_of_a_patient_are_one_case(results):
    assert results["cases"] == ["00195", "00196", "00197"]
    assert len(results["scans"]) == 6


def test_pairs_are_there_both_ways(results):
    pairs = results["pairs"]
    assert pairs["hlfd"]["kd"]["mean"] == pytest.approx(0.1)
    assert pairs["kd"]["hlfd"]["mean"] == pytest.approx(-0.1)
    assert pairs["hlfd"]["kd"]["low"] == pytest.approx(-pairs["kd"]["hlfd"]["high"])
    assert set(pairs) == set(GAINS)


def test_methods_without_all_seeds_are_named_and_left_out(results, tmp_path):
    assert "fitnet, seed 0" in results["missing"]
    assert "fitnet" not in {row["method"] for row in results["table"]}
    with pytest.raises(InputError, match="No method is finished"):
        collect(write_units(tmp_path, {"none": 0.0}, seeds=(0, 1)), RECORD)


def test_the_table_is_sorted_by_tumor_dice_and_shows_times(results):
    rows = rows_of_text(results)
    assert [row[0] for row in rows[1:]] == ["hlfd", "kd", "none", "hlfd + cwd logits"]
    assert rows[1][1:3] == ["0.670 ± 0.010", "+0.200 [+0.200, +0.200]"]
    assert rows[1][-2:] == ["101", "400"]
    assert markdown(results).splitlines()[2].startswith("| hlfd | 0.670 ± 0.010 | +0.200")


def test_the_csv_holds_plain_numbers(results):
    rows = list(csv.DictReader(io.StringIO(comma_separated(results))))
    kd = next(row for row in rows if row["method"] == "kd" and row["structure"] == "tumor")
    assert float(kd["difference"]) == pytest.approx(0.1)
    assert next(row for row in rows if row["method"] == "none")["difference"] == ""
    assert len(rows) == 3 * len(GAINS)


class _Balance(HTMLParser):
    """Follows opened and closed tags."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: dict[str, int] = {}

    def handle_starttag(self, tag, attrs):
        self.seen[tag] = self.seen.get(tag, 0) + 1
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.seen[tag] = self.seen.get(tag, 0) + 1

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_the_page_is_well_formed_and_shows_every_plot(results):
    page = make_page(results)
    parser = _Balance()
    parser.feed(page)
    assert parser.open == []
    assert parser.seen["svg"] == 4
    assert parser.seen["table"] == 2
    assert parser.seen["polyline"] == 2 * 3  # each method but the baseline, over it
    assert parser.seen["rect"] == 3 * 3
    assert "src=" not in page
    assert "<script" not in page


def test_the_page_colours_what_its_interval_says(results):
    page = make_page(results)
    assert 'class="num up">+0.200' in page
    assert 'class="num down">-0.100' in page
    assert page.count('class="better"') == 2
    assert page.count('class="worse"') == 1


def test_curves_are_means_over_seeds_at_common_steps():
    units = {
        "0": {"curve": [{"step": 1, "a": 0.2}, {"step": 2, "a": 0.4}]},
        "1": {"curve": [{"step": 1, "a": 0.4}]},
    }
    assert mean_curve(units, "a") == [(1.0, pytest.approx(0.3))]


def test_all_files_are_written_and_agree(tmp_path):
    settings = write_units(tmp_path, {"none": 0.0, "kd": 0.1})
    write_results(settings, RECORD)
    written = json.loads((settings.folder / "results.json").read_text(encoding="utf-8"))
    assert written["table"][1]["tumor"]["difference"]["mean"] == pytest.approx(0.1)
    assert {path.name for path in settings.folder.iterdir()} == {
        "units", "results.json", "table.md", "table.csv", "report.html",
    }  # fmt: skip


@pytest.mark.parametrize(("profile", "entries", "seeds"), [("quick", 20, 3), ("full", 29, 5), ("weights", 35, 1)])
def test_every_profile_names_every_method(profile, entries, seeds):
    settings = read_compare(PROJECT / "configs" / "compare" / f"{profile}.yaml")
    listed = [entry for method in settings.methods.values() for entry in method["methods"]]
    assert {entry if isinstance(entry, str) else entry["name"] for entry in listed} == set(METHODS)
    assert (len(settings.methods), len(settings.seeds)) == (entries, seeds)


def test_weights_are_chosen_on_cases_that_the_final_table_does_not_use():
    quick, weights = (read_compare(PROJECT / "configs" / "compare" / f"{name}.yaml") for name in ("quick", "weights"))
    tested, chosen = ({*range(s.test.pool.cases[0], s.test.pool.cases[1] + 1)} for s in (quick, weights))
    assert not tested & chosen
    assert not tested & {*range(quick.train.pool.cases[0], quick.train.pool.cases[1] + 1)}
    assert quick.training == weights.training


def test_a_file_says_only_where_it_differs_from_its_base(tmp_path):
    base = PROJECT / "configs" / "compare" / "quick.yaml"
    path = tmp_path / "other.yaml"
    path.write_text(f"base: {base}\ntitle: Other\nseeds: [5]\n", encoding="utf-8")
    assert read_compare(path) == replace(read_compare(base), title="Other", seeds=(5,))


def test_a_trial_with_other_steps_has_a_folder_of_its_own(tmp_path):
    path = tmp_path / "trial.yaml"
    base = PROJECT / "configs" / "compare" / "quick.yaml"
    path.write_text(f"base: {base}\nfolder: {tmp_path / 'out'}\n", encoding="utf-8")
    with pytest.raises(InputError, match="out-7-steps"):
        report_only(path, steps=7)
    with pytest.raises(ConfigError, match="steps is 0"):
        report_only(path, steps=0)


def test_a_base_may_have_a_base_but_not_a_circle(tmp_path):
    base = PROJECT / "configs" / "compare" / "quick.yaml"
    (tmp_path / "one.yaml").write_text(f"base: {base}\ntitle: One\nseeds: [4]\n", encoding="utf-8")
    (tmp_path / "two.yaml").write_text("base: one.yaml\ntitle: Two\n", encoding="utf-8")
    settings = read_compare(tmp_path / "two.yaml")
    assert (settings.title, settings.seeds) == ("Two", (4,))
    assert settings.methods == read_compare(base).methods
    (tmp_path / "one.yaml").write_text("base: two.yaml\n", encoding="utf-8")
    with pytest.raises(ConfigError, match="based on it"):
        read_compare(tmp_path / "two.yaml")
