"""Settings are checked when made, and YAML files name their faults."""

from __future__ import annotations

from dataclasses import FrozenInstanceError, dataclass

import pytest

from hlfd.config import SegmentSettings, from_mapping, look_up, read_yaml, write_yaml
from hlfd.errors import ConfigError


def test_settings_survive_yaml(tmp_path):
    settings = SegmentSettings(device="cuda:1", mode="box", memory_mb=300, min_tumor_ml=0.2)
    write_yaml(settings, tmp_path / "s.yaml")
    assert from_mapping(SegmentSettings, read_yaml(tmp_path / "s.yaml")) == settings


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"mode": "rio"}, 'Did you mean "roi"'),
        ({"backend": "tensorrt"}, "Unknown backend"),
        ({"device": "gpu"}, "auto, cpu, cuda or cuda:N"),
        ({"device": "cuda:x"}, "Unknown device"),
        ({"device": "cuda", "backend": "openvino"}, "OpenVINO runs on the CPU"),
        ({"memory_mb": 1}, "at least 64"),
        ({"threads": -1}, "negative"),
        ({"modell": "kidney"}, 'Did you mean "model"'),
    ],
)
def test_wrong_settings_are_refused_with_a_hint(values, words):
    with pytest.raises(ConfigError, match=words):
        from_mapping(SegmentSettings, values)


def test_settings_cannot_be_changed():
    with pytest.raises(FrozenInstanceError):
        SegmentSettings().model = "liver"


def test_unknown_names_list_the_choices():
    assert look_up("roi", ("auto", "roi"), "mode") == "roi"
    with pytest.raises(ConfigError, match='Unknown mode "zzz"; known are auto, roi'):
        look_up("zzz", ("auto", "roi"), "mode")


@pytest.mark.parametrize(
    ("text", "words"), [("a: [1", "not valid YAML"), ("- 1\n- 2", "holds list"), ("", "holds NoneType")]
)
def test_files_without_a_mapping_are_refused(tmp_path, text, words):
    (tmp_path / "s.yaml").write_text(text)
    with pytest.raises(ConfigError, match=words):
        read_yaml(tmp_path / "s.yaml")


def test_missing_files_and_other_types_are_refused(tmp_path):
    with pytest.raises(ConfigError, match="Cannot read"):
        read_yaml(tmp_path / "none.yaml")
    with pytest.raises(ConfigError, match="a mapping"):
        from_mapping(SegmentSettings, [1, 2])


def test_lists_become_tuples_but_what_mappings_hold_stays():
    @dataclass(frozen=True)
    class Settings:
        windows: tuple[tuple[float, float], ...]
        parameters: dict[str, list[int]]

    made = from_mapping(Settings, {"windows": [[-200, 300], [0, 1]], "parameters": {"widths": [8, 16]}})
    assert made == Settings(((-200, 300), (0, 1)), {"widths": [8, 16]})
