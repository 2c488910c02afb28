"""Weights and training states on disk: complete or untouched, and refused when they do not fit."""

from __future__ import annotations

import errno
import os
import pickle
from pathlib import Path

import pytest
import torch

from hlfd.checkpoint import load_state, load_weights, read_metadata, save_state, save_weights
from hlfd.errors import DiskFullError, ModelError, OutputError
from hlfd.files import write_atomically
from hlfd.networks import build_network


def network(**parameters):
    torch.manual_seed(0)
    return build_network("s2d_unet", **{"classes": 2, "widths": (4, 6), **parameters})


def write_text(text: str):
    return lambda path: path.write_text(text)


class TestAtomicWriting:
    def test_the_file_before_is_kept_on_request(self, tmp_path):
        path, previous = tmp_path / "state", tmp_path / "before"
        write_atomically(path, write_text("one"), previous)
        write_atomically(path, write_text("two"), previous)
        assert (path.read_text(), previous.read_text()) == ("two", "one")

    def test_a_failed_write_leaves_the_old_file_and_no_other(self, tmp_path):
        path = tmp_path / "state"
        path.write_text("old")

        def fail(temporary: Path) -> None:
            temporary.write_text("half")
            raise OSError(errno.EIO, "Input/output error")

        with pytest.raises(OutputError, match="Input/output error"):
            write_atomically(path, fail)
        assert path.read_text() == "old"
        assert os.listdir(tmp_path) == ["state"]

    @pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
    def test_a_full_disk_is_named(self, tmp_path):
        def fill(temporary: Path) -> None:
            with open("/dev/full", "w") as stream:
                stream.write("x" * 100_000)

        with pytest.raises(DiskFullError, match=r"No space is left to write .*Free some space"):
            write_atomically(tmp_path / "state", fill)

    @pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
    def test_weights_and_states_that_find_no_space_leave_the_old_ones(self, tmp_path):
        weights, state = tmp_path / "w.safetensors", tmp_path / "state.pt"
        save_weights(network(), weights)
        save_state({"step": 1}, state)
        before = weights.read_bytes(), state.read_bytes()
        for path in (weights, state):  # the temporary file lies on the full device
            os.symlink("/dev/full", tmp_path / f".{path.name}.{os.getpid()}.tmp")
        with pytest.raises(DiskFullError):
            save_weights(network(), weights)
        with pytest.raises(OutputError):
            save_state({"step": 2, "tensor": torch.zeros(100_000)}, state)
        assert (weights.read_bytes(), state.read_bytes()) == before
        assert sorted(os.listdir(tmp_path)) == ["state.pt", "w.safetensors"]


class TestWeights:
    def test_half_precision_halves_the_file_and_loads_as_float32(self, tmp_path):
        wide = network(widths=(32, 64))
        for half in (False, True):
            save_weights(wide, tmp_path / f"{half}.safetensors", half=half)
        sizes = [(tmp_path / f"{half}.safetensors").stat().st_size for half in (False, True)]
        assert sizes[1] < 0.55 * sizes[0]
        loaded = load_weights(network(widths=(32, 64)), tmp_path / "True.safetensors")
        assert {p.dtype for p in loaded.parameters()} == {torch.float32}

    def test_metadata_is_kept(self, tmp_path):
        save_weights(network(), tmp_path / "w.safetensors", metadata={"step": "7"})
        assert read_metadata(tmp_path / "w.safetensors") == {"step": "7", "batchnorm_folded": "false"}

    def test_tensors_that_two_names_share_are_stored_once(self, tmp_path):
        shared = torch.nn.ModuleDict({"a": torch.nn.Linear(2, 2)})
        shared["b"] = shared["a"]
        save_weights(shared, tmp_path / "w.safetensors")
        other = torch.nn.ModuleDict({"a": torch.nn.Linear(2, 2)})
        other["b"] = other["a"]
        load_weights(other, tmp_path / "w.safetensors")
        assert torch.equal(other["b"].weight, shared["a"].weight)

    @pytest.mark.parametrize(
        ("parameters", "fault"),
        [
            ({"widths": (4, 8)}, r"has shape .*; .* was expected"),
            ({"widths": (4, 6, 8)}, "lacks .* tensors"),
            ({"encoder_convs": 1}, "has surplus 12 tensors"),
        ],
    )
    def test_weights_of_another_network_are_refused(self, tmp_path, parameters, fault):
        save_weights(network(), tmp_path / "w.safetensors")
        with pytest.raises(ModelError, match=fault):
            load_weights(network(**parameters), tmp_path / "w.safetensors")

    def test_missing_and_damaged_files_are_refused(self, tmp_path):
        with pytest.raises(ModelError, match="is missing"):
            load_weights(network(), tmp_path / "none.safetensors")
        save_weights(network(), tmp_path / "w.safetensors")
        data = (tmp_path / "w.safetensors").read_bytes()
        for damaged in (b"", data[:100], data[: len(data) // 2], b"\xff" * 64 + data[64:]):
            (tmp_path / "w.safetensors").write_bytes(damaged)
            with pytest.raises(ModelError, match="not a readable safetensors file"):
                load_weights(network(), tmp_path / "w.safetensors")


class TestStates:
    def test_a_state_comes_back_as_it_was(self, tmp_path):
        state = {"tensor": torch.arange(3), "nested": {"list": [1, 2.5, None, "x"]}}
        save_state(state, tmp_path / "state.pt")
        loaded = load_state(tmp_path / "state.pt")
        assert torch.equal(loaded["tensor"], state["tensor"])
        assert loaded["nested"] == state["nested"]

    def test_pickled_code_is_not_executed(self, tmp_path):
        class Evil:
            def __reduce__(self):
                return os.mkdir, (str(tmp_path / "executed"),)

        (tmp_path / "state.pt").write_bytes(pickle.dumps(Evil()))
        with pytest.raises(ModelError, match="not a readable training state"):
            load_state(tmp_path / "state.pt")
        assert not (tmp_path / "executed").exists()
