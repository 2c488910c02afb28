"""The networks that the viewer puts side by side, all made to take the student's input. Needs torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from hlfd.errors import ModelError
from hlfd.features import FeatureTap
from hlfd.inference.roles import class_labels, is_lesion
from hlfd.models.build import load_network
from hlfd.models.package import ModelPackage, NetworkEntry, file_sha256
from hlfd.models.registry import find
from hlfd.networks import SegmentationNetwork
from hlfd.teachers import FittedTeacher, Teacher, fit_teacher, load_teacher
from hlfd.teachers.inputs import ChannelInput
from hlfd.training.precision import choose_precision


@dataclass(frozen=True)
class Seen:
    """What one pass of a network gave: features and their gradients (C, k, j, i) by tap."""

    features: dict[str, Tensor]
    gradients: dict[str, Tensor]
    evidence_of: str


@dataclass(frozen=True)
class Viewed:
    """One network: its role, what to call it, and how to run it on the student's input."""

    role: str
    title: str
    network: SegmentationNetwork
    taps: dict[str, str]
    """Tap name to module path in ``network``."""

    def look(self, image: Tensor, taps: tuple[str, ...], tumor: int | None, precision: str = "float32") -> Seen:
        """Run the network on ``image`` (1, channels, k, j, i) and keep the features of ``taps``.

        The gradients are those of the logit of class ``tumor``, summed over the voxels that the network labels so, or
        over all voxels where there are none. Without ``tumor`` there are none, and the network runs only as far as the
        last of the taps, in ``precision`` (see ``choose_precision``).
        """
        paths = {name: self.taps[name] for name in taps}
        if tumor is None:
            autocast = choose_precision(precision, image.device).autocast()
            with torch.no_grad(), FeatureTap(self.network, paths) as found, autocast:
                self._run_until(image, paths, found)
                return Seen({name: f[0].float().contiguous() for name, f in found.items()}, {}, "")
        image = image.detach().requires_grad_()  # the only leaf of the graph: weights want none
        with torch.enable_grad(), FeatureTap(self.network, paths) as found:
            logits = self.network(image)
            features = dict(found)
            gradients, said = _gradients(features, logits, tumor)
        return Seen({name: f.detach()[0].contiguous() for name, f in features.items()}, gradients, said)

    def _run_until(self, image: Tensor, paths: Mapping[str, str], found: Mapping[str, Tensor]) -> None:
        """Run the network until ``found`` has all of ``paths``; one from outside, of which little is known, to its end.

        A network of ours calls each module once and changes no output of a tapped one afterwards.
        """
        handles = []
        if not isinstance(self.network, FittedTeacher):

            def stop(module: Any, inputs: Any, output: Any) -> None:
                if len(found) == len(paths):
                    raise _EnoughError

            modules = {self.network.get_submodule(path.partition(":")[0]) for path in paths.values()}
            handles = [module.register_forward_hook(stop) for module in modules]
        try:
            self.network(image)
        except _EnoughError:
            pass
        finally:
            for handle in handles:
                handle.remove()


class _EnoughError(Exception):
    """Ends a pass whose rest nobody needs."""


def _gradients(features: dict[str, Tensor], logits: Tensor, tumor: int) -> tuple[dict[str, Tensor], str]:
    """Return the gradient of the tumor's logit by tap where it depends on it, and over which voxels it was summed."""
    labelled = logits.detach().argmax(1)[0] == tumor
    chosen = logits[0, tumor][labelled] if labelled.any() else logits[0, tumor]
    found = torch.autograd.grad(chosen.sum(), list(features.values()), allow_unused=True)
    said = "the voxels it labels tumor" if labelled.any() else "all voxels, since it labels none tumor"
    return {name: gradient[0] for name, gradient in zip(features, found) if gradient is not None}, said


def load_networks(package: ModelPackage, teacher: Any = None, device: str = "cpu") -> tuple[Viewed, ...]:
    """Return teacher (from outside if ``teacher`` names one), student, undistilled student and the student before its
    fine-tuning, those that there are.

    All take the windows and spacing of the package's refiner and give logits of its classes. Raises ``ModelError`` or
    ``ConfigError`` for a network that cannot be made to.
    """
    student = package.refiner
    loaded: dict[str, tuple[str, SegmentationNetwork]] = {}
    if teacher is not None:
        outside = load_teacher(teacher)
        loaded["teacher"] = outside.origin, fit_teacher(outside, student.classes, student.windows, student.spacing_mm)
    elif package.teacher is not None:
        loaded["teacher"] = package.teacher.network, _fitted(package.teacher, student)
    loaded["student"] = student.network, load_network(student)
    if package.undistilled is not None:
        loaded["undistilled"] = package.undistilled.network, _fitted(package.undistilled, student)
    base = _before_finetuning(package)
    if base is not None:
        loaded["base"] = f"{base.name} {base.version}", _fitted(base.refiner, student)
    return tuple(
        Viewed(role, title, _frozen(network, device), _taps(network)) for role, (title, network) in loaded.items()
    )


def _before_finetuning(package: ModelPackage) -> ModelPackage | None:
    """Return the model that a fine-tuned one went on from, if it is installed and still the same."""
    origin = package.metadata.get("provenance", {})
    name, _, version = str(origin.get("finetuned_from", "")).rpartition(" ")
    if not name:
        return None
    try:
        base = find(f"{name}/{version}")
    except ModelError:
        return None
    same = file_sha256(base.folder / "model.json") == origin.get("base_sha256")
    return base if same else None


def _taps(network: SegmentationNetwork) -> dict[str, str]:
    """Return the taps; those of a fitted teacher inside of it where it has the student's axes.

    What a fitted teacher passes on are views, on which its logits do not depend: they have no gradient.
    """
    paths = network.own_taps if isinstance(network, FittedTeacher) else None
    return dict(network.taps) if paths is None else {**paths, "out": network.taps["out"]}


def _frozen(network: SegmentationNetwork, device: str) -> SegmentationNetwork:
    network = network.eval().requires_grad_(False).to(device)
    return network.to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]


def _fitted(entry: NetworkEntry, student: NetworkEntry) -> SegmentationNetwork:
    """Return a network of the package as one on the student's input."""
    network = load_network(entry)
    same = entry.windows == student.windows and entry.spacing_mm == student.spacing_mm
    if same and entry.classes == student.classes:
        return network
    facts = network.description
    teacher = Teacher(
        module=network.requires_grad_(False),
        taps=dict(network.taps),
        in_channels=facts.in_channels,
        spatial_dims=facts.spatial_dims,
        classes=entry.classes,
        spacing_mm=(entry.spacing_mm,) * facts.spatial_dims,
        orientation="SAR"[-facts.spatial_dims :],
        inputs=tuple(ChannelInput.of_window(window) for window in entry.windows),
        divisor=entry.divisor,
        origin=f"package, {entry.weights.name}",
        resample=True,
    )
    return fit_teacher(teacher, student.classes, student.windows, student.spacing_mm)


def class_groups(package: ModelPackage) -> dict[str, tuple[int, ...]]:
    """Return the student's class indices of tumor, kidney (the organ and its cysts) and background."""
    names = tuple(label.name for label in package.labels)
    explicit = dict(package.region.get("class_to_label", {}))
    groups: dict[str, list[int]] = {"tumor": [], "kidney": [], "background": [0]}
    for index, name in enumerate(package.refiner.classes[1:], 1):
        label = class_labels(name, names, explicit)[0]
        groups["tumor" if is_lesion(label) and label.endswith("tumor") else "kidney"].append(index)
    if not groups["kidney"] and not groups["tumor"]:
        raise ModelError("The refiner of this package has no class but the background.")
    return {name: tuple(indices) for name, indices in groups.items()}


def group_masks(labels: Tensor, groups: Mapping[str, tuple[int, ...]]) -> dict[str, Tensor]:
    """Return a boolean mask (k, j, i) per group of class indices."""
    member = {name: torch.zeros(256, dtype=torch.bool, device=labels.device) for name in groups}
    for name, indices in groups.items():
        member[name][list(indices)] = True
    return {name: table[labels.long()] for name, table in member.items()}
