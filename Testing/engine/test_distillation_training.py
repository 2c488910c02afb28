"""Every method trains a student beside an online teacher, and a resumed run ends where an unbroken one does."""

from __future__ import annotations

import pytest
import torch

from hlfd.checkpoint import load_state
from hlfd.distillation import DistillSettings, build_objective
from hlfd.distillation.settings import METHOD_NAMES
from hlfd.errors import CancelledError, ModelError
from hlfd.events import CancelToken, Progress
from hlfd.networks import build_network
from hlfd.training import TrainSettings, fit

STEPS = 4


class Blobs:
    """Patches like a simulated kidney: a bright ball with a smaller one of another brightness in it, and noise."""

    def sample(self, index):
        generator = torch.Generator().manual_seed(index)
        grid = torch.stack(torch.meshgrid(*[torch.arange(16.0)] * 3, indexing="ij"))
        center = 5 + 6 * torch.rand(3, 1, 1, 1, generator=generator)
        distance = (grid - center).norm(dim=0)
        label = (distance < 5).to(torch.uint8) + (distance < 2.5).to(torch.uint8)
        image = 0.5 * label[None].float() - 0.5 + 0.2 * torch.randn(1, 16, 16, 16, generator=generator)
        return {"image": image, "label": label}


def teacher():
    torch.manual_seed(2)
    return build_network("dynunet_small", classes=3, widths=(4, 6, 8, 8))


def train(folder, method, stop_at=None, **values):
    """Train for ``STEPS`` steps, or cancel after ``stop_at``; return the result and the objective."""
    torch.manual_seed(1)
    student = build_network("s2d_unet", classes=3, widths=(4, 6, 8))
    methods = method if isinstance(method, tuple) else (method,)
    objective = build_objective(DistillSettings(methods=methods), student, teacher())
    cancel = CancelToken()

    def watch(event):
        if isinstance(event, Progress) and event.done == stop_at:
            cancel.cancel()

    settings = TrainSettings(
        steps=STEPS, warmup_steps=1, precision="float32", device="cpu", log_every=1, tensorboard=False, **values
    )
    result = fit(student, objective, Blobs(), settings, folder, on_event=watch, cancel=cancel)
    return result, objective


@pytest.mark.parametrize("name", METHOD_NAMES)
def test_a_resumed_run_equals_an_unbroken_one(tmp_path, name):
    result, objective = train(tmp_path / "whole", name)
    with pytest.raises(CancelledError):
        train(tmp_path / "broken", name, stop_at=2)
    resumed, projections = train(tmp_path / "broken", name)
    assert resumed.step == result.step == STEPS
    assert resumed.last_weights.read_bytes() == result.last_weights.read_bytes()
    state, again = objective.state_dict(), projections.state_dict()
    assert list(state) == list(again)
    for key, value in state.items():
        assert torch.equal(value, again[key]) if isinstance(value, torch.Tensor) else value == again[key]


def test_projections_are_trained_checkpointed_and_not_exported(tmp_path):
    from safetensors import safe_open

    result, objective = train(tmp_path, ("hlfd", "hlfd-released"))
    torch.manual_seed(1)
    untrained = build_objective(
        DistillSettings(methods=("hlfd", "hlfd-released")), build_network("s2d_unet", classes=3, widths=(4, 6, 8)),
        teacher())  # fmt: skip
    for (name, trained), first in zip(objective.named_parameters(), untrained.parameters()):
        assert name.startswith("methods.hlfd.projections.")
        assert not torch.equal(trained, first)
    saved = load_state(max(tmp_path.glob("*.pt")))["objective"]
    assert set(saved) == set(objective.state_dict())
    assert saved["methods.hlfd-released.projections._extra_state"] == {"draws": STEPS}
    for path in (result.last_weights, result.best_weights):
        with safe_open(str(path), "pt") as stream:
            assert set(stream.keys()) == set(build_network("s2d_unet", classes=3, widths=(4, 6, 8)).state_dict())


def test_every_term_is_logged_by_its_name(tmp_path):
    train(tmp_path, ("emkd", "none"))
    text = (tmp_path / "metrics.jsonl").read_text()
    for name in ("segmentation", "emkd/prediction", "emkd/importance", "emkd/affinity", "loss"):
        assert f'"train/{name}"' in text


def test_a_checkpoint_of_another_method_is_refused(tmp_path):
    train(tmp_path, "fitnet")
    with pytest.raises(ModelError, match="belongs to another network or objective"):
        train(tmp_path, "reviewkd")


def test_distillation_brings_the_student_to_its_teacher(tmp_path):
    torch.manual_seed(1)
    student, other = build_network("s2d_unet", classes=3, widths=(4, 6, 8)), teacher()
    settings = DistillSettings(methods=("kd",), segmentation_weight=0.0)
    objective = build_objective(settings, student, other)
    image = torch.stack([Blobs().sample(index)["image"] for index in range(2)])
    batch = {"image": image, "label": torch.zeros(2, 16, 16, 16, dtype=torch.long)}
    optimizer = torch.optim.Adam(student.parameters(), lr=1e-2)
    losses = []
    for _ in range(30):
        optimizer.zero_grad()
        loss = sum(objective(student, batch)[1].values())
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.5 * losses[0]
