"""Layouts of views: Slicer's layout descriptions (XML) read into what the page draws, and the layouts offered here."""

from __future__ import annotations

from enum import Enum, unique
from xml.etree import ElementTree

from trame_slicer.views import Layout, LayoutDirection, ViewLayoutDefinition, ViewProps

SLICES = {"axial": "Red", "coronal": "Green", "sagittal": "Yellow"}
"""The tags of the slice views, as in Slicer."""
THREE_D = "ThreeD"
_COLORS = {"Red": "#F34A33", "Green": "#6DAD4A", "Yellow": "#EFD64D"}
_SLICE, _VOLUME = "vtkMRMLSliceNode", "vtkMRMLViewNode"
_DIRECTIONS = {"horizontal": LayoutDirection.Horizontal, "vertical": LayoutDirection.Vertical}


@unique
class ViewKind(Enum):
    """The classes of view nodes that a layout may name."""

    SLICE_VIEW = _SLICE
    THREE_D_VIEW = _VOLUME
    PLOT_VIEW = "vtkMRMLPlotViewNode"
    TABLE_VIEW = "vtkMRMLTableViewNode"


def read_layout(xml: str) -> Layout:
    """Return the layout in one of Slicer's descriptions; raises ``ValueError`` for one that is none."""
    return _read(ElementTree.fromstring(xml))


def _read(element: ElementTree.Element) -> Layout:
    if element.tag != "layout":
        raise ValueError(f"A layout description was expected, got <{element.tag}>.")
    items, sizes = [], []
    for item in element.findall("item"):
        for child in item:
            items.append(_read(child) if child.tag == "layout" else _view(child))
            sizes.append(str(item.get("splitSize", "1")))
    return Layout(_DIRECTIONS.get(element.get("type", "vertical"), LayoutDirection.Vertical), items, sizes)


def _view(element: ElementTree.Element) -> ViewLayoutDefinition:
    values = {one.get("name"): one.text for one in element.findall("property")}
    group = values.get("viewgroup")
    props = ViewProps(
        label=values.get("viewlabel"),
        orientation=values.get("orientation"),
        color=values.get("viewcolor"),
        group=int(group) if group else 0,
        background_color="#000000" if element.get("class") == _VOLUME else None,
        box_visible=False,
    )
    return ViewLayoutDefinition(str(element.get("singletontag")), ViewKind(element.get("class")), props)


def _slice(orientation: str) -> str:
    tag = SLICES[orientation]
    return (
        f'<item><view class="{_SLICE}" singletontag="{tag}">'
        f'<property name="orientation" action="default">{orientation.capitalize()}</property>'
        f'<property name="viewlabel" action="default">{tag[0]}</property>'
        f'<property name="viewcolor" action="default">{_COLORS[tag]}</property></view></item>'
    )


_THREE_D_ITEM = f'<item><view class="{_VOLUME}" singletontag="{THREE_D}"/></item>'


def _group(direction: str, *items: str) -> str:
    return f'<layout type="{direction}">{"".join(items)}</layout>'


def _in_item(text: str) -> str:
    return f"<item>{text}</item>"


LAYOUTS: dict[str, tuple[int, str, str]] = {
    "quad": (
        3,
        "Four views",
        _group(
            "vertical",
            _in_item(_group("horizontal", _slice("axial"), _THREE_D_ITEM)),
            _in_item(_group("horizontal", _slice("coronal"), _slice("sagittal"))),
        ),
    ),
    "slices": (
        472_800,
        "Three slices",
        _group("horizontal", _slice("axial"), _slice("coronal"), _slice("sagittal")),
    ),
    "axial": (6, "Axial", _group("vertical", _slice("axial"))),
    "coronal": (8, "Coronal", _group("vertical", _slice("coronal"))),
    "sagittal": (7, "Sagittal", _group("vertical", _slice("sagittal"))),
    "3d": (4, "3-D", _group("vertical", _THREE_D_ITEM)),
}
"""Name -> number in the layout node (Slicer's where Slicer has it), title, description."""
