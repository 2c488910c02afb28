"""Pictures of a segmented CT drawn by Slicer's own views: three slices with overlay and the surfaces in 3-D.

``python -m HLFDSegmentLib.pictures --volume CT --segmentation SEG.seg.nrrd --out DIR [--size PIXELS]`` writes
axial.png, coronal.png, sagittal.png and surfaces.png through the largest lesion (else the largest kidney), and
pictures.json that describes each. It needs no display.
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import slicer

from hlfd.errors import HlfdError, InputError, OutputError
from hlfd.labels import Label
from hlfd.volume import LabelMap
from HLFDSegmentLib.annotation import Annotator, direction_letter
from HLFDSegmentLib.graphics import prepare_rendering
from HLFDSegmentLib.headless import HeadlessScene
from HLFDSegmentLib.label_arrays import cropped, values_in
from HLFDSegmentLib.offscreen import SliceView, ThreeDView, write_png
from HLFDSegmentLib.segmentations import add_closed_surfaces, label_map_from_segmentation, segmentation_from_label_map
from HLFDSegmentLib.targets import Box, Target, body_box, choose_target, is_lesion, structures_box
from HLFDSegmentLib.volumes import volume_from_node, volume_to_node

DEFAULT_SIZE = 900
WINDOW_LEVEL = (400.0, 40.0)
PLANES = ("Axial", "Coronal", "Sagittal")
_MARGIN = 1.06
_FILL, _LESION_FILL, _ORGAN_3D = 0.26, 0.32, 0.65
_WALL_MM, _WALL_OPACITY = 5.0, 0.4
_BACKGROUND_3D = (0.06, 0.07, 0.10)
_MAX_EXTENT_MM = np.array([520.0, 520.0, 420.0])


@dataclass(frozen=True)
class Picture:
    """One written picture: file name, plane or view, the RAS point in mm it goes through, and a caption."""

    file: str
    view: str
    center_ras: tuple[float, float, float]
    width: int
    height: int
    caption: str


@dataclass(frozen=True)
class Scene:
    """What the pictures are made of: scene and logic passed in, the two nodes, and the labels cut out in RAS."""

    scene: slicer.vtkMRMLScene
    application_logic: slicer.vtkMRMLApplicationLogic
    volume_node: slicer.vtkMRMLScalarVolumeNode
    segmentation_node: slicer.vtkMRMLSegmentationNode
    label_map: LabelMap


def take_pictures(
    scene: slicer.vtkMRMLScene,
    application_logic: slicer.vtkMRMLApplicationLogic,
    volume_node: slicer.vtkMRMLScalarVolumeNode,
    segmentation_node: slicer.vtkMRMLSegmentationNode,
    folder: Path,
    size: int = DEFAULT_SIZE,
) -> list[Picture]:
    """Write the four pictures, ``size`` pixels square, and pictures.json into ``folder``; return their descriptions.

    The segmentation's display is set up for reading the CT underneath. Raises an ``HlfdError``.
    """
    if not 64 <= size <= 4096:
        raise InputError(f"The picture size is {size} pixels; 64 to 4096 was expected.")
    volume = volume_from_node(volume_node, copy=False, world=True)
    label_map = label_map_from_segmentation(segmentation_node, volume_node)
    label_map = LabelMap(label_map.array, volume.affine, label_map.labels)
    content = Scene(scene, application_logic, volume_node, segmentation_node, cropped(label_map))
    target, body = _target(label_map, content.label_map), body_box(volume)
    _style(content)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f'Cannot make the folder "{folder}": {error.strerror}.', "Choose another one.") from error
    pictures = [_slice_picture(content, plane, target, body, folder, size) for plane in PLANES]
    pictures.append(_surface_picture(content, target, body, folder, size))
    described = {"target": asdict(target), "pictures": [asdict(picture) for picture in pictures]}
    (folder / "pictures.json").write_text(json.dumps(described, indent=2), encoding="utf-8")
    return pictures


def load(
    scene: slicer.vtkMRMLScene, volume_path: Path, segmentation_path: Path
) -> tuple[slicer.vtkMRMLScalarVolumeNode, slicer.vtkMRMLSegmentationNode]:
    """Add a CT file and its segmentation to the scene; a .seg.nrrd is read by Slicer's own reader."""
    from hlfd.io import read_label_map, read_volume

    volume_node = volume_to_node(scene, read_volume(volume_path), window_level=WINDOW_LEVEL)
    if not segmentation_path.name.lower().endswith(".seg.nrrd"):
        labels = read_label_map(segmentation_path)
        return volume_node, segmentation_from_label_map(scene, labels, volume_node, always=())
    node = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", segmentation_path.name.removesuffix(".seg.nrrd"))
    storage = scene.AddNewNodeByClass("vtkMRMLSegmentationStorageNode")
    storage.SetFileName(str(segmentation_path))
    if not segmentation_path.is_file() or not storage.ReadData(node):
        raise InputError(f'Slicer cannot read the segmentation "{segmentation_path}".', "Check the path and the file.")
    node.CreateDefaultDisplayNodes()
    return volume_node, node


def _style(content: Scene) -> None:
    """Thin fill under full outlines, lesions stronger, organs glassy in 3-D so that what they hold is seen."""
    content.segmentation_node.CreateDefaultDisplayNodes()
    display = content.segmentation_node.GetDisplayNode()
    display.SetSliceIntersectionThickness(2)
    display.SetOpacity2DFill(1.0)
    display.SetOpacity2DOutline(1.0)
    segmentation = content.segmentation_node.GetSegmentation()
    glassy = any(is_lesion(label) for label in _present(content.label_map))
    for index, label in enumerate(content.label_map.labels):  # in the order of the segments
        segment_id, lesion = segmentation.GetNthSegmentID(index), is_lesion(label)
        display.SetSegmentOpacity2DFill(segment_id, _LESION_FILL if lesion else _FILL)
        display.SetSegmentOpacity2DOutline(segment_id, 1.0)
        display.SetSegmentOpacity3D(segment_id, _ORGAN_3D if glassy and not lesion else 1.0)


def _target(whole: LabelMap, cut: LabelMap) -> Target:
    return choose_target(cut if values_in(cut.array) else whole)  # the middle of the image is that of the whole one


def _present(label_map: LabelMap) -> list[Label]:
    values = values_in(label_map.array)
    return [label for label in label_map.labels if label.value in values]


def _frame(target: Target, body: Box) -> tuple[np.ndarray, np.ndarray]:
    """Return the point in RAS mm that all pictures are centred on and the RAS extent in mm that they show."""
    extent = np.minimum(body.size * _MARGIN, _MAX_EXTENT_MM)
    half = np.minimum(extent, body.size) / 2.0
    center = np.clip(np.array(target.center_ras), body.low + half, body.high - half)
    return center, extent


def _slice_picture(content: Scene, plane: str, target: Target, body: Box, folder: Path, size: int) -> Picture:
    view = SliceView(content.scene, content.application_logic, plane, (size, size))
    try:
        through = np.argmin(np.abs(view.axes_ras()).sum(axis=0))
        center, extent = _frame(target, body)
        center[through] = target.center_ras[through]
        right, up = np.abs(view.axes_ras())
        view.show(content.volume_node, center, (float(right @ extent), float(up @ extent)))
        position = f"{direction_letter(np.eye(3)[through] * center[through])} {abs(center[through]):.1f} mm"
        view.node.SetRulerType(view.node.RulerTypeThin)
        notes = Annotator(view.renderer, (size, size))
        notes.directions(view.axes_ras())
        notes.title(f"{plane}  {position}", f"W {WINDOW_LEVEL[0]:g}  L {WINDOW_LEVEL[1]:g}")
        notes.legend(_legend(content.label_map))
        write_png(view.image(), folder / f"{plane.lower()}.png")
    finally:
        view.close()
    caption = f"{plane} slice at {position}{_through(target)}."
    if plane != "Sagittal":
        caption += " The patient's right is on the left."
    return Picture(f"{plane.lower()}.png", plane.lower(), _rounded(center), size, size, caption)


def _surface_picture(content: Scene, target: Target, body: Box, folder: Path, size: int) -> Picture:
    add_closed_surfaces(content.segmentation_node)
    box = structures_box(content.label_map) or body
    behind = SliceView(content.scene, content.application_logic, "Coronal", (size, size))
    view = ThreeDView(content.scene, content.application_logic, (size, size))
    try:
        wall = np.array([box.center[0], box.low[1] - _WALL_MM, box.center[2]])
        behind.show(content.volume_node, wall, (body.size[0], body.size[2]))
        behind.show_in_3d(_WALL_OPACITY)  # the CT behind the structures shows where they lie
        view.node.SetBackgroundColor(*_BACKGROUND_3D)
        view.node.SetBackgroundColor2(*_BACKGROUND_3D)
        view.node.SetOrientationMarkerType(view.node.OrientationMarkerTypeCube)
        view.node.SetOrientationMarkerSize(view.node.OrientationMarkerSizeSmall)
        view.look(box.center, max(box.size[0], box.size[2]) / 2.0 + 25.0, azimuth=12.0, tilt=8.0)
        notes = Annotator(view.renderer, (size, size))
        notes.directions(np.array([[-1.0, 0.0, 0.0], [0.0, 0.0, 1.0]]))
        notes.title("From the front")
        notes.legend(_legend(content.label_map))
        write_png(view.image(), folder / "surfaces.png")
    finally:
        view.close()
        behind.close()
    caption = "Closed surfaces seen from the front, CT behind them. The patient's right is on the left."
    return Picture("surfaces.png", "surfaces", _rounded(box.center), size, size, caption)


def _legend(label_map: LabelMap) -> list[tuple[str, tuple[float, float, float]]]:
    present = sorted(_present(label_map), key=is_lesion, reverse=True)
    return [(label.name, (label.color[0] / 255, label.color[1] / 255, label.color[2] / 255)) for label in present]


def _through(target: Target) -> str:
    if target.kind == "image":
        return ", through the middle of the image: nothing was segmented"
    which = "largest " if target.kind == "lesion" else ""
    return f" through the {which}{target.name} ({target.volume_ml:.1f} ml)"


def _rounded(point: np.ndarray) -> tuple[float, float, float]:
    r, a, s = (round(float(value), 2) for value in point)
    return r, a, s


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return 0, or 1 after one line on stderr that says what is wrong and what to do."""
    logging.basicConfig(format="%(message)s", level=logging.WARNING)
    parser = argparse.ArgumentParser(prog="python -m HLFDSegmentLib.pictures", description="Pictures of a segmented CT")
    parser.add_argument("--volume", type=Path, required=True, help="CT: .nii, .nrrd, .mha or DICOM folder")
    parser.add_argument("--segmentation", type=Path, required=True, help=".seg.nrrd, or a label map on the CT's grid")
    parser.add_argument("--out", type=Path, required=True, help="folder for the pictures")
    parser.add_argument("--size", type=int, default=DEFAULT_SIZE, help="edge of each square picture in pixels")
    options = parser.parse_args(arguments)
    try:
        prepare_rendering()
        application = HeadlessScene()
        nodes = load(application.scene, options.volume, options.segmentation)
        take_pictures(application.scene, application.application_logic, *nodes, options.out, options.size)
    except HlfdError as error:
        logging.error("%s", error)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
