"""From the refiner's classes to the values of the final label map."""

from __future__ import annotations

from dataclasses import dataclass

from hlfd.errors import ModelError
from hlfd.labels import Label
from hlfd.models.package import ModelPackage

_CYST = "cyst"
LESION_CLASSES = ("tumor", _CYST)
_SIDED = ("left {}", "right {}")


@dataclass(frozen=True)
class Roles:
    """What each class index means.

    ``left`` and ``right`` hold the label value per class for the two sides (equal where the class has no side; 0 for
    the background). ``lesions`` and ``organs`` are class indices; ``lesion_labels`` and ``organ_labels`` the labels.
    """

    left: tuple[int, ...]
    right: tuple[int, ...]
    organs: tuple[int, ...]
    lesions: tuple[int, ...]
    lesion_labels: tuple[Label, ...]
    organ_labels: tuple[Label, ...]

    @property
    def cysts(self) -> tuple[int, ...]:
        """The classes among ``lesions`` that mean cysts."""
        values = {label.value for label in self.lesion_labels if is_cyst(label.name)}
        return tuple(index for index in self.lesions if self.left[index] in values)


def is_lesion(name: str) -> bool:
    """Return whether a class or label name means a tumour or cyst."""
    return name.split()[-1] in LESION_CLASSES


def is_cyst(name: str) -> bool:
    """Return whether a class or label name means a cyst."""
    return name.split()[-1] == _CYST


def class_labels(name: str, names: tuple[str, ...], explicit: dict[str, object]) -> tuple[str, str]:
    """Return the label names of class ``name`` on the left and right.

    ``explicit`` (``region.class_to_label``: a name or a pair of names) wins; else "left <name>" and "right <name>",
    the name itself, or the one label that ends with it ("tumor" is "kidney tumor").
    """
    given = explicit.get(name)
    if isinstance(given, str):
        return given, given
    if isinstance(given, (list, tuple)) and len(given) == 2:
        return str(given[0]), str(given[1])
    pair = _SIDED[0].format(name), _SIDED[1].format(name)
    if pair[0] in names and pair[1] in names:
        return pair
    if name in names:
        return name, name
    ending = [label for label in names if label.endswith(f" {name}")]
    if len(ending) == 1:
        return ending[0], ending[0]
    raise ModelError(
        f'The class "{name}" of the refiner has no label among {list(names)}.', "Set region.class_to_label."
    )


def make_roles(package: ModelPackage) -> Roles:
    """Return the roles of the refiner's classes; raise ``ModelError`` for a class without a label."""
    labels = {label.name: label for label in package.labels}
    explicit = dict(package.region.get("class_to_label", {}))
    pairs = [class_labels(name, tuple(labels), explicit) for name in package.refiner.classes[1:]]
    for name in (n for pair in pairs for n in pair if n not in labels):
        raise ModelError(f'region.class_to_label names "{name}", which is no label of the package.')
    lesions = tuple(n for n, pair in enumerate(pairs, 1) if is_lesion(pair[0]))
    organs = tuple(n for n in range(1, len(pairs) + 1) if n not in lesions)
    return Roles(
        left=(0, *(labels[pair[0]].value for pair in pairs)),
        right=(0, *(labels[pair[1]].value for pair in pairs)),
        organs=organs,
        lesions=lesions,
        lesion_labels=_labels(package, pairs, lesions),
        organ_labels=_labels(package, pairs, organs),
    )


def _labels(package: ModelPackage, pairs: list[tuple[str, str]], indices: tuple[int, ...]) -> tuple[Label, ...]:
    names = {name for index in indices for name in pairs[index - 1]}
    return tuple(label for label in package.labels if label.name in names)
