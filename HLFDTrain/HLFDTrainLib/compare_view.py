"""One held-out case three times in linked views: the old segmentation, the new one, and the reference."""

from __future__ import annotations

from collections.abc import Generator, Mapping

import numpy as np
import slicer

from hlfd.inference.roles import is_lesion
from hlfd.volume import LabelMap, Volume
from HLFDSegmentLib.label_arrays import Part
from HLFDSegmentLib.nodes import remove_nodes
from HLFDSegmentLib.segmentations import segmentation_from_label_map
from HLFDTrainLib.loaded_cases import volume_into_scene
from HLFDTrainLib.views import Views

VIEWS = {"before": "HLFDTrainBefore", "after": "HLFDTrainAfter", "reference": "HLFDTrainReference"}
_LABELS = {"before": "B", "after": "A", "reference": "R"}
_COLOURS = {"before": "#787878", "after": "#3278c8", "reference": "#40a060"}
_GROUP = 4740
_LAYOUT = 473_911
_ITEMS = "".join(
    f'<item><view class="vtkMRMLSliceNode" singletontag="{tag}"><property name="orientation" action="default">Axial'
    f'</property><property name="viewlabel" action="default">{_LABELS[side]}</property><property name="viewcolor" '
    f'action="default">{_COLOURS[side]}</property><property name="viewgroup" action="default">{_GROUP}</property>'
    "</view></item>"
    for side, tag in VIEWS.items()
)
_XML = f'<layout type="horizontal">{_ITEMS}</layout>'


class CompareView:
    """Puts a case into ``scene`` and takes it out again; nothing is saved with the scene."""

    def __init__(self, scene: slicer.vtkMRMLScene) -> None:
        self._scene = scene
        self._views = Views(scene, _LAYOUT, _XML)
        self._nodes: list[slicer.vtkMRMLNode] = []
        self.segmentations: dict[str, slicer.vtkMRMLSegmentationNode] = {}
        self.volume: slicer.vtkMRMLScalarVolumeNode | None = None

    def show(
        self, title: str, volume: Volume, label_maps: Mapping[str, LabelMap], parts: Mapping[str, Part]
    ) -> Generator[bool, None, None]:
        """Show the case, in pieces; ``label_maps`` and their labelled ``parts`` have the keys of ``VIEWS``.

        The views jump to the largest lesion of the reference.
        """
        self.clear()
        self.volume = self._keep((yield from volume_into_scene(self._scene, volume.array, volume.affine, title)))
        self._views.enter()
        yield True
        for side, tag in VIEWS.items():
            node = segmentation_from_label_map(
                *(self._scene, label_maps[side], self.volume),
                name=f"{title} {side}",
                always=(),
                part=parts[side],
            )
            self.segmentations[side] = self._keep(node)
            display = node.GetDisplayNode()
            display.SetSaveWithScene(False)
            display.AddViewNodeID(self._views.slice_node(tag).GetID())
            display.SetVisibility3D(False)
            yield True
            self._views.slice_node(tag).SetViewGroup(_GROUP)
            composite = self._views.composite(tag)
            composite.SetLinkedControl(True)
            composite.SetHotLinkedControl(True)
            self._views.show_volume(tag, self.volume)
            yield True
        self._jump(lesion_position(label_maps["reference"], parts["reference"]))

    def clear(self) -> None:
        """Take the case out of the scene."""
        remove_nodes(self._scene, *self._nodes)
        self._nodes.clear()
        self.segmentations.clear()
        self.volume = None

    def leave(self) -> None:
        """Take the case out of the scene and restore the user's layout."""
        self._views.leave()
        self.clear()

    def _keep(self, node: slicer.vtkMRMLNode) -> slicer.vtkMRMLNode:
        node.SetSaveWithScene(False)
        self._nodes.append(node)
        return node

    def _jump(self, position: tuple[float, float, float]) -> None:
        for tag in VIEWS.values():
            self._views.slice_node(tag).JumpSliceByCentering(*position)


def lesion_position(label_map: LabelMap, part: Part) -> tuple[float, float, float]:
    """Return the RAS position in mm of the slice with most lesion (else most label), amid its voxels.

    ``part`` is the labelled part of the label map.
    """
    lesions = [label.value for label in label_map.labels if is_lesion(label.name)]
    mask = np.isin(part.array, lesions)
    if not mask.any():
        mask = part.array > 0
    if mask.any():
        k = int(mask.sum(axis=(1, 2)).argmax())
        rows, columns = np.nonzero(mask[k])
        middle = np.add(part.start, [k, rows.mean(), columns.mean()])
    else:
        middle = (np.array(label_map.shape) - 1) / 2
    r, a, s, _ = label_map.affine @ [*middle[::-1], 1.0]
    return float(r), float(a), float(s)
