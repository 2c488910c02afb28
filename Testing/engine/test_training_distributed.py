"""Training in several processes gives what one process gives, and goes on after one of them is killed."""

from __future__ import annotations

import copy
import json
import os
import runpy
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml

from hlfd.checkpoint import load_state, load_weights
from hlfd.collectives import batch_gather, batch_sum
from hlfd.errors import ConfigError
from hlfd.networks import build_network
from hlfd.ranks import Ranks, current_ranks, share_of
from hlfd.training.source import Shares
from hlfd.training.sync_norm import synchronised_batch_norm

PROGRAM = Path(__file__).with_name("distributed_program.py")
RUNS = ("batch-norm", "class-weights", "parts", "uneven", "projected", "distillation")

pytestmark = pytest.mark.skipif(not torch.distributed.is_gloo_available(), reason="torch without gloo")


def launch(folder: Path, processes: int, *runs: str, restarts: int = 0, delay: float = 0.0) -> subprocess.Popen[str]:
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--max-restarts", str(restarts)]
    command = [sys.executable, *torchrun, "--nproc-per-node", str(processes), str(PROGRAM), str(folder), *runs]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "DELAY": str(delay)}
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    return subprocess.Popen(command, text=True, env=environment, start_new_session=True, **streams)


def run_here(folder: Path, *runs: str) -> None:
    program, threads = runpy.run_path(str(PROGRAM)), torch.get_num_threads()
    torch.set_num_threads(1)  # sums in another order are rounded differently, and Adam magnifies that
    try:
        for name in runs:
            program["train"](folder, name)
    finally:
        torch.set_num_threads(threads)


def curve(folder: Path, name: str = "train/loss") -> list[float]:
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [row[name] for row in rows if name in row]


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> Path:
    """All runs, in one process under 1/ and in two under 2/."""
    folder = tmp_path_factory.mktemp("runs")
    run_here(folder / "1", *RUNS)
    with launch(folder / "2", 2, *RUNS) as process:
        output = process.communicate(timeout=500)[0]
    assert process.returncode == 0, output
    return folder


@pytest.mark.parametrize("name", RUNS)
class TestTwoProcesses:
    def test_have_the_loss_curve_of_one_with_the_whole_batch(self, runs, name):
        one, two = curve(runs / "1" / name), curve(runs / "2" / name)
        assert len(one) == 12
        assert len(set(one)) == 12
        assert two == pytest.approx(one, abs=1e-4)

    def test_have_its_gradients_and_validation_too(self, runs, name):
        for what in ("train/gradient_norm", "validation/dice"):
            assert curve(runs / "2" / name, what) == pytest.approx(curve(runs / "1" / name, what), rel=1e-3, abs=1e-3)

    def test_end_with_its_weights(self, runs, name):
        one, two = (
            load_weights(build_network("s2d_unet", classes=2, widths=(8, 16)), runs / count / name / "last.safetensors")
            for count in "12"
        )
        for a, b in zip(one.state_dict().values(), two.state_dict().values()):
            assert torch.allclose(a.float(), b.float(), atol=2e-3)


@pytest.fixture(scope="module")
def killed(tmp_path_factory) -> Path:
    """A job of two processes whose main one is killed at step 5, in the middle between two checkpoints."""
    folder = tmp_path_factory.mktemp("killed")
    pids: list[int] = []
    lines: list[str] = []
    with launch(folder, 2, "uneven", restarts=1, delay=0.05) as process:
        for line in process.stdout:
            lines.append(line)
            words = line.split()
            if words[:2] == ["rank", "0"]:
                pids.append(int(words[3]))
            elif words == ["step", "5"] and len(pids) == 1:
                os.kill(pids[0], signal.SIGKILL)
    assert process.returncode == 0, "".join(lines)
    assert len(pids) == 2, "".join(lines)
    return folder


@pytest.mark.skipif(os.name != "posix", reason="SIGKILL is needed")
class TestAKilledProcess:
    def test_is_started_again_and_the_job_ends_as_if_unbroken(self, runs, killed):
        for name in ("last.safetensors", "best.safetensors"):
            assert (killed / "uneven" / name).read_bytes() == (runs / "2" / "uneven" / name).read_bytes()
        assert curve(killed / "uneven") == curve(runs / "2" / "uneven")


def test_a_job_of_two_processes_goes_on_in_one(tmp_path, runs):
    shutil.copytree(runs / "2" / "uneven", tmp_path / "uneven")
    (tmp_path / "uneven" / "checkpoint.pt").unlink()  # leaves the one before, of step 9
    run_here(tmp_path, "uneven")
    assert curve(tmp_path / "uneven") == pytest.approx(curve(runs / "1" / "uneven"), abs=1e-4)


def test_a_recipe_is_trained_by_two_processes_of_which_one_makes_the_files(tmp_path):
    recipe = runpy.run_path(str(PROGRAM.with_name("test_training_recipe.py")))["tiny_recipe"](tmp_path)
    data = yaml.safe_load(recipe.read_text())
    data["networks"]["refiner"]["training"]["batch_size"] = 2
    recipe.write_text(yaml.safe_dump(data))
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    command = [*torchrun, "-m", "hlfd", "train", str(recipe), "--stages", "pool", "refiner"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("Done; results are in") == 1
    assert len(curve(tmp_path / "run" / "refiner")) == 1
    assert load_state(tmp_path / "run" / "refiner" / "checkpoint.pt")["position"]["step"] == 2


class TestShares:
    @pytest.mark.parametrize(("batch", "accumulate", "size"), [(4, 1, 2), (5, 1, 2), (7, 2, 3), (64, 4, 8), (3, 3, 1)])
    def test_every_sample_of_a_step_goes_to_one_process_in_the_part_it_has_in_one(self, batch, accumulate, size):
        alone = Shares(batch, accumulate, Ranks())
        shared = [Shares(batch, accumulate, Ranks(rank, size)) for rank in range(size)]
        for part in range(accumulate):
            assert sorted(i for share in shared for i in share.part(part)) == list(alone.part(part))
            assert sum(share.weight(part) for share in shared) / size == pytest.approx(alone.weight(part))
        assert sum(alone.weight(part) for part in range(accumulate)) == pytest.approx(1)

    def test_samples_go_on_counting_from_step_to_step(self):
        steps = list(Shares(4, 2, Ranks(1, 2)).steps(10, 12))
        assert steps == [[41], [43], [45], [47]]

    def test_a_batch_too_small_for_the_processes_is_refused(self):
        with pytest.raises(
            ConfigError, match=r"batch_size 4 in 2 part\(s\) leaves some of 3 processes without a sample"
        ):
            Shares(4, 2, Ranks(0, 3))


class TestRanks:
    def test_one_process_without_a_launcher(self):
        assert current_ranks({}) == Ranks()
        assert Ranks().main

    def test_the_environment_of_a_launcher(self):
        names = {"RANK": "5", "WORLD_SIZE": "8", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "4"}
        elastic = {"TORCHELASTIC_RUN_ID": "job", "TORCHELASTIC_RESTART_COUNT": "2"}
        assert current_ranks({**names, **elastic}) == Ranks(5, 8, 1, 4, "job", 2)

    @pytest.mark.parametrize(
        ("environment", "fault"),
        [
            ({"RANK": "1"}, "Only one of the environment variables RANK and WORLD_SIZE"),
            ({"RANK": "2", "WORLD_SIZE": "2"}, "RANK 2 of WORLD_SIZE 2"),
            ({"RANK": "a", "WORLD_SIZE": "2"}, 'RANK is "a"; a whole number'),
        ],
    )
    def test_variables_that_make_no_sense_are_refused(self, environment, fault):
        with pytest.raises(ConfigError, match=fault):
            current_ranks(environment)

    def test_items_are_taken_in_turns(self):
        assert [Ranks(rank, 3).take("abcdefg") for rank in range(3)] == [list("adg"), list("be"), list("cf")]
        assert [list(share_of(5, 2, part)) for part in range(2)] == [[0, 1], [2, 3, 4]]


class TestOneProcess:
    def test_sums_over_the_batch_are_its_own(self):
        values = torch.arange(3.0)
        assert batch_sum(values) is values
        assert torch.equal(batch_gather(values), values[None])

    def test_batch_norms_are_what_they_were_after_training(self):
        norm = torch.nn.Sequential(torch.nn.BatchNorm2d(2))
        x = torch.randn(3, 2, 4, 4)
        expected = copy.deepcopy(norm)(x)
        with synchronised_batch_norm(norm):
            assert torch.equal(norm(x), expected)
        assert "forward" not in vars(norm[0])
