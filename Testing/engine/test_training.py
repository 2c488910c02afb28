"""The training loop: what it learns, writes, refuses, and how it goes on after an interruption."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from hlfd.checkpoint import load_weights, read_metadata
from hlfd.errors import CancelledError, ConfigError, DeviceError, HlfdError, InputError, ModelError, OutputError
from hlfd.events import CancelToken, Metric, Progress, Warn
from hlfd.networks import build_network
from hlfd.training import Supervised, TrainSettings, fit, precision
from hlfd.training.memory import kept_memory
from hlfd.training.precision import choose_device, choose_precision, cpu_computes_bfloat16
from hlfd.training.schedule import learning_rate, make_optimizer
from hlfd.training.validation import PatchValidator

QUICK = TrainSettings(
    steps=12, batch_size=2, lr=1e-2, warmup_steps=2, precision="float32", device="cpu", log_every=4,
    validate_every=4, checkpoint_every=4, tensorboard=False,
)  # fmt: skip


class Balls:
    """Noisy images with a bright ball of class 1."""

    def __init__(self, size: int = 16, classes_shift: int = 0) -> None:
        self.size, self.shift = size, classes_shift

    def sample(self, index: int) -> dict[str, torch.Tensor]:
        generator = torch.Generator().manual_seed(index)
        center = torch.randint(5, self.size - 5, (3,), generator=generator)
        grid = torch.stack(torch.meshgrid(*[torch.arange(self.size)] * 3, indexing="ij"))
        label = ((grid - center[:, None, None, None]) ** 2).sum(0) < 16
        image = 2.0 * label + 0.5 * torch.randn(label.shape, generator=generator)
        return {"image": image[None], "label": (label.long() + self.shift).to(torch.uint8)}


def tiny_network(seed: int = 0, **parameters) -> nn.Module:
    torch.manual_seed(seed)
    return build_network("s2d_unet", **{"classes": 2, "widths": (8, 16), **parameters})


def ball_validator() -> PatchValidator:
    return PatchValidator([Balls().sample(10_000 + i) for i in range(3)], ["background", "ball"])


def train(folder: Path, settings: TrainSettings = QUICK, **more):
    arguments = {"network": tiny_network(), "objective": Supervised(), "train_source": Balls(), **more}
    return fit(settings=settings, folder=folder, **arguments)


def log_of(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def test_a_network_learns_and_the_result_says_where_its_best_weights_are(tmp_path):
    network = tiny_network()
    result = train(tmp_path, replace(QUICK, steps=60), network=network, validate=ball_validator())
    assert result.step == 60
    assert result.best_value > 0.8
    assert result.metrics["dice_ball"] == pytest.approx(result.best_value)
    assert ball_validator()(network)["dice"] == pytest.approx(result.best_value)
    fresh = load_weights(tiny_network(seed=5), result.best_weights).eval()
    assert ball_validator()(fresh)["dice"] == pytest.approx(result.best_value)
    assert read_metadata(result.best_weights)["step"] == str(result.best_step)


def test_the_log_holds_losses_rate_and_validation(tmp_path):
    train(tmp_path, validate=ball_validator())
    rows = log_of(tmp_path)
    losses = [row for row in rows if "train/segmentation" in row]
    assert [row["step"] for row in losses] == [4, 8, 12]
    assert losses[-1]["train/loss"] < losses[0]["train/loss"]
    assert losses[-1]["train/lr"] == pytest.approx(QUICK.final_lr)
    assert [row["step"] for row in rows if "validation/dice" in row] == [4, 8, 12]


def test_events_tell_progress_with_time_left(tmp_path):
    events = []
    train(tmp_path, on_event=events.append)
    progress = [event for event in events if isinstance(event, Progress)]
    assert [event.done for event in progress] == list(range(1, 13))
    assert progress[0].seconds_left > 0
    assert progress[-1].seconds_left == 0
    assert [event.step for event in events if isinstance(event, Metric)] == [4, 8, 12]


def test_tensorboard_events_are_written(tmp_path):
    pytest.importorskip("tensorboard")
    train(tmp_path, replace(QUICK, steps=4, tensorboard=True))
    assert list((tmp_path / "tensorboard").glob("events.out.tfevents.*"))


def test_without_validation_the_last_weights_are_the_best(tmp_path):
    result = train(tmp_path)
    assert result.best_value is None
    assert result.metrics == {}
    assert result.best_weights.read_bytes() == result.last_weights.read_bytes()


def test_workers_do_not_change_the_result(tmp_path):
    for workers in (0, 2):
        train(tmp_path / str(workers), replace(QUICK, workers=workers))
    first, second = ((tmp_path / name / "last.safetensors").read_bytes() for name in "02")
    assert first == second


def test_the_best_weights_are_those_of_the_best_validation_not_the_last(tmp_path):
    values = iter([0.2, 0.7, 0.4])
    result = train(tmp_path, validate=lambda network: {"dice": next(values)})
    assert (result.best_value, result.best_step) == (0.7, 8)
    assert result.best_weights.read_bytes() != result.last_weights.read_bytes()


def test_training_stops_early_when_validation_no_longer_improves(tmp_path):
    values = iter([0.5, 0.4, 0.3])
    settings = replace(QUICK, steps=100, patience=2)
    assert train(tmp_path, settings, validate=lambda network: {"dice": next(values)}).step == 12


def test_validation_sees_the_averaged_network_in_eval_mode(tmp_path):
    seen = []

    def validate(network: nn.Module) -> dict[str, float]:
        seen.append((network.training, torch.is_grad_enabled(), network.head.weight.detach().clone()))
        return {"dice": 0.0}

    network = tiny_network()
    raw = []
    objective = Supervised()

    def watching(net, batch):
        raw.append(net.head.weight.detach().clone())
        return objective(net, batch)

    train(tmp_path, replace(QUICK, ema_decay=0.9), network=network, objective=watching, validate=validate)
    assert [entry[:2] for entry in seen] == [(False, False)] * 3
    averaged = raw[0].clone()
    for step, weight in enumerate(raw[1:5]):
        averaged.lerp_(weight, 1 - min(0.9, (1 + step) / (10 + step)))
    assert torch.allclose(seen[0][2], averaged, atol=1e-7)


def test_an_objective_with_parameters_has_them_trained_and_kept_out_of_the_weights(tmp_path):
    class Projected(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.projection = nn.Conv3d(2, 2, 1)

        def forward(self, network, batch):
            logits = network(batch["image"])
            distance = (self.projection(logits) - 1).square().mean()
            return logits, {
                "segmentation": Supervised()(network, batch)[1]["segmentation"],
                "projected": 0.1 * distance,
            }

    torch.manual_seed(3)
    objective = Projected()
    before = objective.projection.weight.detach().clone()
    result = train(tmp_path, objective=objective)
    assert not torch.equal(before, objective.projection.weight)
    assert "train/projected" in log_of(tmp_path)[0]
    load_weights(tiny_network(), result.last_weights)


class TestResume:
    def test_cancelling_writes_a_checkpoint_from_which_the_run_ends_as_if_unbroken(self, tmp_path):
        train(tmp_path / "unbroken", validate=ball_validator())
        token = CancelToken()

        def cancel_at_seven(event):
            if isinstance(event, Progress) and event.done == 6:
                token.cancel()

        with pytest.raises(CancelledError):
            train(tmp_path / "broken", validate=ball_validator(), cancel=token, on_event=cancel_at_seven)
        train(tmp_path / "broken", network=tiny_network(seed=9), validate=ball_validator())
        for name in ("last.safetensors", "best.safetensors"):
            assert (tmp_path / "broken" / name).read_bytes() == (tmp_path / "unbroken" / name).read_bytes()
        numbers = [
            [{k: v for k, v in row.items() if not k.startswith("time/")} for row in log_of(tmp_path / run)]
            for run in ("broken", "unbroken")
        ]
        assert [row["step"] for row in numbers[0]] == [row["step"] for row in numbers[1]]
        assert numbers[0][-1] == numbers[1][-1]

    def test_a_finished_run_is_not_trained_again(self, tmp_path):
        first = train(tmp_path, validate=ball_validator())
        events = []
        again = train(tmp_path, network=tiny_network(seed=9), validate=ball_validator(), on_event=events.append)
        assert not [event for event in events if isinstance(event, Progress)]
        assert (again.step, again.best_value, again.metrics) == (first.step, first.best_value, first.metrics)

    def test_a_damaged_checkpoint_gives_way_to_the_one_before(self, tmp_path):
        whole = train(tmp_path / "whole")
        train(tmp_path / "damaged")
        newest = tmp_path / "damaged" / "checkpoint.pt"
        newest.write_bytes(newest.read_bytes()[:1000])
        events = []
        result = train(tmp_path / "damaged", network=tiny_network(seed=9), on_event=events.append)
        assert any(isinstance(event, Warn) and "not a readable training state" in event.message for event in events)
        assert result.last_weights.read_bytes() == whole.last_weights.read_bytes()

    def test_starting_anew_ignores_the_checkpoint(self, tmp_path):
        train(tmp_path, replace(QUICK, steps=4))
        events = []
        train(tmp_path, resume=False, on_event=events.append)
        assert sum(isinstance(event, Progress) for event in events) == 12

    def test_changed_settings_are_reported(self, tmp_path):
        train(tmp_path)
        events = []
        train(tmp_path, replace(QUICK, steps=14, lr=5e-3), on_event=events.append)
        warnings = [event.message for event in events if isinstance(event, Warn)]
        assert warnings == ["The run continues with other settings than it began with: lr, steps."]

    def test_the_checkpoint_of_another_network_is_refused(self, tmp_path):
        train(tmp_path)
        with pytest.raises(ModelError, match="belongs to another network or objective"):
            train(tmp_path, network=tiny_network(widths=(4, 6)))


class TestRefusals:
    def test_labels_beyond_the_classes(self, tmp_path):
        with pytest.raises(InputError, match="A label has value 2, but the network has 2 classes"):
            train(tmp_path, train_source=Balls(classes_shift=1))

    def test_a_source_without_labels(self, tmp_path):
        class Unlabelled(Balls):
            def sample(self, index):
                return {"image": super().sample(index)["image"]}

        with pytest.raises(InputError, match='gives image; "image" and "label" were expected'):
            train(tmp_path, train_source=Unlabelled())

    def test_a_loss_that_is_not_finite(self, tmp_path):
        with pytest.raises(HlfdError, match="gradient was not finite in 20 steps in a row"):
            train(
                tmp_path,
                replace(QUICK, steps=50),
                objective=Supervised(lambda logits, labels: logits.mean() * math.nan),
            )

    def test_a_single_bad_step_changes_no_weight_and_training_goes_on(self, tmp_path):
        calls = []

        def loss(logits, labels):
            calls.append(0)
            return logits.square().mean() * (math.inf if len(calls) == 3 else 1.0)

        result = train(tmp_path, objective=Supervised(loss))
        assert result.step == 12
        assert all(torch.isfinite(p).all() for p in load_weights(tiny_network(), result.last_weights).parameters())

    def test_a_validation_without_the_monitored_number(self, tmp_path):
        with pytest.raises(ConfigError, match='Validation gives accuracy, but not "dice"'):
            train(tmp_path, validate=lambda network: {"accuracy": 1.0})

    def test_a_folder_that_cannot_be_made(self, tmp_path):
        (tmp_path / "file").write_text("")
        with pytest.raises(OutputError, match="Cannot write"):
            train(tmp_path / "file" / "run")

    @pytest.mark.parametrize(
        ("values", "fault"),
        [
            ({"steps": -1}, "steps is -1; 0 or more"),
            ({"lr": 0.0}, "0 < final_lr <= lr"),
            ({"ema_decay": 1.0}, "ema_decay is 1.0"),
            ({"workers": -1}, "workers is -1"),
            ({"precision": "float8"}, 'Unknown precision "float8"'),
            ({"device": "gpu"}, 'Unknown device "gpu"'),
        ],
    )
    def test_settings_out_of_range(self, values, fault):
        with pytest.raises(ConfigError, match=fault):
            replace(QUICK, **values)

    def test_a_gpu_that_is_not_there(self):
        with pytest.raises(DeviceError, match="There is no cuda:99"):
            choose_device("cuda:99")

    def test_half_precision_that_the_cpu_only_emulates(self):
        with pytest.raises(DeviceError, match="no float16 arithmetic"):
            choose_precision("float16", torch.device("cpu"))


def test_no_steps_keep_the_weights_that_the_network_begins_with(tmp_path):
    network = tiny_network()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    result = train(tmp_path, replace(QUICK, steps=0), network=network, validate=ball_validator())
    assert (result.step, result.best_value) == (0, None)
    loaded = load_weights(tiny_network(seed=1), result.best_weights)
    assert all(torch.equal(before[name], tensor) for name, tensor in loaded.state_dict().items())


@pytest.fixture
def measured_anew():
    """Let what bfloat16 gains be measured by the test, and again by what comes after it."""
    precision.cpu_gains_by_bfloat16.cache_clear()
    yield
    precision.cpu_gains_by_bfloat16.cache_clear()


@pytest.mark.parametrize(("half", "expected"), [(0.7, torch.bfloat16), (0.9, torch.float32), (1.3, torch.float32)])
def test_auto_precision_is_bfloat16_only_where_it_is_clearly_faster(monkeypatch, measured_anew, half, expected):
    monkeypatch.setattr(precision, "cpu_computes_bfloat16", lambda: True)
    monkeypatch.setattr(precision, "_seconds", lambda dtype: half if dtype == torch.bfloat16 else 1.0)
    assert choose_precision("auto", torch.device("cpu")).dtype == expected


def test_auto_precision_is_float32_where_the_cpu_lacks_bfloat16(monkeypatch, measured_anew):
    monkeypatch.setattr(precision, "cpu_computes_bfloat16", lambda: False)
    assert choose_precision("auto", torch.device("cpu")).dtype == torch.float32


def test_what_bfloat16_gains_is_measured_here():
    assert precision.cpu_gains_by_bfloat16() in ((True, False) if cpu_computes_bfloat16() else (False,))
    assert precision._seconds(torch.float32) > 0


def test_training_in_bfloat16_keeps_float32_weights(tmp_path):
    if not cpu_computes_bfloat16():
        pytest.skip("this CPU has no bfloat16 arithmetic")
    network = tiny_network()
    result = train(tmp_path, replace(QUICK, precision="bfloat16", steps=60), network=network, validate=ball_validator())
    assert result.best_value > 0.8
    assert {p.dtype for p in network.parameters()} == {torch.float32}


def test_the_learning_rate_rises_and_then_falls_along_a_cosine():
    settings = TrainSettings(steps=101, warmup_steps=10, lr=1.0, final_lr=0.1)
    rates = [learning_rate(settings, step) for step in range(101)]
    assert rates[0] == pytest.approx(1 / 11)
    assert rates[10] == 1.0
    assert rates[55] == pytest.approx(0.55)
    assert rates[-1] == pytest.approx(0.1)
    assert rates[:11] == sorted(rates[:11])
    assert rates[10:] == sorted(rates[10:], reverse=True)


def test_only_kernels_decay():
    optimizer = make_optimizer([tiny_network()], TrainSettings(weight_decay=0.5), torch.device("cpu"))
    decays = {(p.ndim > 1, group["weight_decay"]) for group in optimizer.param_groups for p in group["params"]}
    assert decays == {(True, 0.5), (False, 0.0)}


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs Linux's /proc")
def test_memory_kept_while_training_is_given_back_afterwards():
    def resident_mb() -> float:
        return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 / 2**20

    before = resident_mb()
    with kept_memory(torch.device("cpu")):
        torch.ones(50_000_000).sum()
    assert resident_mb() < before + 100
