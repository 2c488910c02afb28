"""A network of an HLFD model package as a teacher."""

from __future__ import annotations

from hlfd.config import look_up
from hlfd.errors import ModelError
from hlfd.models.build import load_network
from hlfd.models.registry import find
from hlfd.teachers.inputs import ChannelInput
from hlfd.teachers.settings import TeacherSettings
from hlfd.teachers.teacher import Teacher, choose_taps

ROLES = ("teacher", "refiner", "locator")


def load_package_teacher(settings: TeacherSettings) -> Teacher:
    """Load the teacher of a package, or its refiner where it ships none, or the role that the settings name."""
    package = find(settings.source)
    role = look_up(settings.role, ROLES, "role of a package") if settings.role else ""
    entries = {"teacher": package.teacher, "refiner": package.refiner, "locator": package.locator}
    entry = entries[role] if role else package.teacher or package.refiner
    if entry is None:
        has = [name for name, value in entries.items() if value is not None]
        raise ModelError(f"The package {package.name}/{package.version} has no {role}.", f"It has: {', '.join(has)}.")
    network = load_network(entry)
    return Teacher(
        module=network,
        taps=choose_taps(network, network.taps, settings.taps),
        in_channels=network.description.in_channels,
        spatial_dims=network.description.spatial_dims,
        classes=entry.classes,
        spacing_mm=(entry.spacing_mm,) * network.description.spatial_dims,
        inputs=tuple(ChannelInput.of_window(window) for window in entry.windows),
        divisor=entry.divisor,
        licence=package.licence,
        origin=f"package {package.name}/{package.version}",
    )
