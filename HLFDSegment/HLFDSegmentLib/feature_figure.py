"""What goes out of the feature viewer: a figure of the panels side by side with their legend, and the maps as NRRD."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import slicer
import vtk
from numpy.typing import NDArray
from vtk.util.numpy_support import vtk_to_numpy

from hlfd.errors import OutputError, UsageError
from HLFDSegmentLib.annotation import Annotator, direction_letter
from HLFDSegmentLib.feature_colors import TABLE_OF, color_node
from HLFDSegmentLib.feature_logic import FeatureLogic
from HLFDSegmentLib.feature_maps import SCALES, TITLES, Map
from HLFDSegmentLib.graphics import prepare_rendering
from HLFDSegmentLib.offscreen import SliceView, write_png

DEFAULT_SIZE = 600
_STRIP = 0.22  # width of the legend, of a panel's
_GAP = 4
_KIND_WORDS = {
    "attention": "attention",
    "channel": "channel",
    "pca": "first three principal components",
    "evidence": "evidence for tumor (Grad-CAM)",
    "difference": "attention, difference to teacher",
}


def export_figure(
    logic: FeatureLogic,
    application_logic: slicer.vtkMRMLApplicationLogic,
    path: Path,
    orientation: str = "Axial",
    size: int = DEFAULT_SIZE,
) -> NDArray[np.uint8]:
    """Draw the shown maps over the CT side by side through the views' position, write the PNG, and return it (h, w, 3).

    Each panel is ``size`` pixels square, drawn by Slicer's own slice view. Raises ``OutputError`` where the file cannot
    be written, ``MissingDependencyError`` where nothing can be drawn, ``UsageError`` without maps.
    """
    maps, selection = logic.maps, logic.selection
    if maps is None or selection is None or not logic.shown:
        raise UsageError("There are no feature maps to draw.", "Start the feature viewer first.")
    prepare_rendering()
    center = logic.layout.position()
    extent = maps.reach * 1.05
    panels: list[NDArray[np.uint8]] = []
    for role, shown in logic.shown.items():
        title = f"{TITLES[role]}  {selection.pair}"
        detail = _KIND_WORDS[shown.kind]
        if shown.kind == "channel":
            detail = f"channel {maps.shown_channel(role, selection)}"
        panels.append(_panel(logic, application_logic, role, (title, detail), orientation, center, extent, size))
        panels.append(np.zeros((size, _GAP, 3), np.uint8))
    legends = {shown.kind: shown for shown in logic.shown.values() if shown.kind != "pca"}
    panels += [_legend(logic, shown, size) for shown in legends.values()]
    image = np.concatenate(panels, axis=1)
    write_png(image, Path(path))
    return image


def _panel(
    logic: FeatureLogic,
    application_logic: slicer.vtkMRMLApplicationLogic,
    role: str,
    texts: tuple[str, str],
    orientation: str,
    center: NDArray[np.float64],
    extent: NDArray[np.float64],
    size: int,
) -> NDArray[np.uint8]:
    source = logic.layout.composite_node(role)
    view = SliceView(logic.scene, application_logic, orientation, (size, size))
    try:
        right, up = np.abs(view.axes_ras())
        composite = view.logic.GetSliceCompositeNode()
        composite.SetForegroundVolumeID(source.GetForegroundVolumeID())
        composite.SetForegroundOpacity(logic.opacity)
        view.show(logic.volume_node, center, (float(right @ extent), float(up @ extent)))
        through = int(np.argmin(right + up))
        place = f"{direction_letter(np.eye(3)[through] * center[through])} {abs(center[through]):.1f} mm"
        view.node.SetRulerType(view.node.RulerTypeThin)
        notes = Annotator(view.renderer, (size, size))
        notes.directions(view.axes_ras())
        notes.title(f"{texts[0]}\n{texts[1]}", place)
        return view.image()
    finally:
        view.close()


def _legend(logic: FeatureLogic, shown: Map, size: int) -> NDArray[np.uint8]:
    """Draw the colours of a kind of map with their values."""
    width = round(_STRIP * size)
    table = logic.color_table if logic.color_table and shown.kind != "difference" else TABLE_OF[shown.kind]
    colors = vtk.vtkLookupTable()
    colors.DeepCopy(color_node(logic.scene, table).GetLookupTable())
    colors.SetRange(*shown.window)
    bar = vtk.vtkScalarBarActor()
    bar.SetLookupTable(colors)
    bar.SetNumberOfLabels(5)
    bar.SetLabelFormat("%.1f")
    bar.SetMaximumNumberOfColors(256)
    bar.SetUnconstrainedFontSize(True)
    bar.SetPosition(0.08, 0.1)
    bar.SetWidth(0.8)
    bar.SetHeight(0.75)
    bar.SetBarRatio(0.3)
    style = bar.GetLabelTextProperty()
    style.SetFontSize(max(10, round(size / 40)))
    style.SetItalic(False)
    style.SetBold(False)
    style.SetShadow(False)
    renderer, window = vtk.vtkRenderer(), vtk.vtkRenderWindow()
    window.SetOffScreenRendering(1)
    window.SetMultiSamples(0)
    window.SetSize(width, size)
    window.AddRenderer(renderer)
    renderer.AddViewProp(bar)
    renderer.AddViewProp(_heading(SCALES[shown.kind], width, size))
    window.Render()
    grab = vtk.vtkWindowToImageFilter()
    grab.SetInput(window)
    grab.ReadFrontBufferOff()
    grab.Update()
    pixels = vtk_to_numpy(grab.GetOutput().GetPointData().GetScalars())
    image = pixels.reshape(size, width, 3)[::-1].copy()
    window.Finalize()
    return image


def _heading(text: str, width: int, size: int) -> vtk.vtkTextActor:
    actor = vtk.vtkTextActor()
    actor.SetInput(text.replace(" ", "\n", 1))
    style = actor.GetTextProperty()
    style.SetFontFamilyToArial()
    style.SetFontSize(max(10, round(size / 42)))
    style.SetJustificationToCentered()
    style.SetVerticalJustificationToTop()
    actor.SetDisplayPosition(width // 2, size - max(6, size // 60))
    return actor


def export_maps(logic: FeatureLogic, folder: Path) -> list[Path]:
    """Write the shown maps into ``folder`` as NRRD in their own grids, one file per network, and return the files."""
    if logic.selection is None or not logic.shown:
        raise UsageError("There are no feature maps to write.", "Start the feature viewer first.")
    written = []
    try:
        Path(folder).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f'Cannot make the folder "{folder}": {error.strerror}.', "Choose another one.") from error
    for role, shown in logic.shown.items():
        node = logic.scene.GetNodeByID(logic.layout.composite_node(role).GetForegroundVolumeID())
        name = re.sub(r"[^\w.-]+", "_", f"{logic.selection.pair}-{role}-{shown.kind}")
        if shown.kind == "channel" and logic.maps is not None:
            name += f"-{logic.maps.shown_channel(role, logic.selection)}"
        path = Path(folder) / f"{name}.nrrd"
        storage = slicer.vtkMRMLNRRDStorageNode()
        storage.SetFileName(str(path))
        if not storage.WriteData(node):
            raise OutputError(f'Cannot write "{path}".', "Choose another folder, or free some space.")
        written.append(path)
    return written
