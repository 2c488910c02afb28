"""Colour tables of the feature viewer: the same in every application, whichever colour files it ships."""

from __future__ import annotations

import numpy as np
import slicer

# anchors at equal distances, between which is interpolated; viridis and inferno by S. van der Walt and N. Smith (CC0)
_ANCHORS = {
    "Viridis": "440154 482878 3e4989 31688e 26828e 1f9e89 35b779 6ece58 b5de2b fde725",
    "Inferno": "000004 1b0c41 4a0c6b 781c6d a52c60 cf4446 ed6925 fb9b06 f7d13d fcffa4",
    "Blue-white-red": "2166ac 4393c3 92c5de d1e5f0 f7f7f7 fddbc7 f4a582 d6604d b2182b",
}
TABLE_OF = {"attention": "Viridis", "channel": "Viridis", "evidence": "Inferno", "difference": "Blue-white-red"}
"""Which table a kind of map begins with; differences stay with the one whose middle is white."""
CHOICES = ("Viridis", "Inferno")
_COUNT = 256


def color_node(scene: slicer.vtkMRMLScene, name: str) -> slicer.vtkMRMLColorTableNode:
    """Return the colour table ``name`` of the scene, made at the first call; it is not saved with the scene."""
    full = f"HLFD {name}"
    found = scene.GetFirstNode(full, "vtkMRMLColorTableNode")
    if found is not None:
        return found
    node = slicer.vtkMRMLColorTableNode()
    node.SetTypeToUser()
    node.SetName(full)
    node.SetNumberOfColors(_COUNT)
    for index, (red, green, blue) in enumerate(_interpolated(_ANCHORS[name])):
        node.SetColor(index, str(index), red, green, blue, 1.0)
    node.SetSaveWithScene(False)
    node.SetHideFromEditors(True)
    return scene.AddNode(node)


def _interpolated(anchors: str) -> np.ndarray:
    values = np.array([[int(word[n : n + 2], 16) / 255 for n in (0, 2, 4)] for word in anchors.split()])
    places = np.linspace(0, len(values) - 1, _COUNT)
    return np.stack([np.interp(places, np.arange(len(values)), channel) for channel in values.T], axis=1)
