"""The example slice after each validation: what the network says now, over the image and beside the labels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import slicer
from numpy.typing import NDArray

from HLFDSegmentLib.nodes import remove_nodes
from HLFDSegmentLib.volumes import array_to_matrix

LABEL_COLOUR = (64, 220, 90)
"""RGB of the outline of the labels."""
PREDICTION_COLOURS = ((70, 150, 255), (255, 150, 50), (240, 230, 70), (230, 90, 200))
"""RGB of the classes that the network says, in their order."""
_WINDOW = (-160.0, 240.0)
_LEAST_SIDE = 256
_BLEND = 0.45


class SampleView:
    """Holds the newest example slice, as a picture and as a colour volume of one slice in ``scene`` (not saved)."""

    def __init__(self, scene: slicer.vtkMRMLScene) -> None:
        self._scene = scene
        self._node: slicer.vtkMRMLVectorVolumeNode | None = None
        self.step = 0
        self.picture: NDArray[np.uint8] | None = None
        """RGB (rows from front to back, columns from the patient's right to left, 3), None before the first one."""

    @property
    def node(self) -> slicer.vtkMRMLVectorVolumeNode | None:
        """The volume that shows the picture, None before the first one."""
        return self._node if self._node is not None and self._node.GetScene() is self._scene else None

    def load(self, path: Path, step: int) -> bool:
        """Show the sample in a file of a run; False where it cannot be read (any more)."""
        try:
            with np.load(path, allow_pickle=False) as data:
                self.picture = draw_sample(data["image"], data["label"], data["prediction"])
        except (OSError, ValueError, KeyError):
            return False
        self.step = step
        self._fill(self.picture)
        return True

    def clear(self) -> None:
        """Take the volume out of the scene."""
        remove_nodes(self._scene, self._node)
        self._node, self.picture, self.step = None, None, 0

    def _fill(self, picture: NDArray[np.uint8]) -> None:
        node = self.node
        if node is None:
            node = self._scene.AddNewNodeByClass("vtkMRMLVectorVolumeNode", "Training example")
            node.SetSaveWithScene(False)
            node.CreateDefaultDisplayNodes()
            self._node = node
        node.SetName(f"Training example, step {self.step}")
        # rows run to the back, columns to the patient's left: as an axial view shows them
        node.SetIJKToRASMatrix(array_to_matrix(np.diag([-1.0, -1.0, 1.0, 1.0])))
        slicer.util.updateVolumeFromArray(node, np.ascontiguousarray(picture[None]))


def draw_sample(image: NDArray[np.int16], label: NDArray[np.uint8], prediction: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return RGB (rows, columns, 3): grey HU, the prediction as colours, the labels as an outline.

    All three are (rows, columns); the picture is enlarged by a whole number to about 256 pixels.
    """
    scale = max(1, round(_LEAST_SIDE / max(image.shape)))
    image, label, prediction = (
        np.kron(part, np.ones((scale, scale), part.dtype)) for part in (image, label, prediction)
    )
    low, high = _WINDOW
    grey = np.clip((image.astype(np.float32) - low) / (high - low), 0, 1) * 255
    picture = np.repeat(grey[..., None], 3, axis=2)
    for value in range(1, int(prediction.max()) + 1):
        colour = np.array(PREDICTION_COLOURS[(value - 1) % len(PREDICTION_COLOURS)], np.float32)
        mask = prediction == value
        picture[mask] = (1 - _BLEND) * picture[mask] + _BLEND * colour
    picture[outline(label)] = LABEL_COLOUR
    return picture.round().astype(np.uint8)


def outline(label: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Return where a label map (rows, columns) changes to another value, inside of the labels."""
    padded = np.pad(label, 1, mode="edge")
    inner = padded[1:-1, 1:-1]
    beside = (padded[:-2, 1:-1], padded[2:, 1:-1], padded[1:-1, :-2], padded[1:-1, 2:])
    changes: NDArray[np.bool_] = np.any([other != inner for other in beside], axis=0)
    return changes & (inner > 0)
