"""The tab Open: the sample CT, files of the server, uploads, earlier results, and what is open."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from hlfd.errors import HlfdError, UsageError
from hlfd.models.resources import sample_folder
from hlfd_web.open_panel import ui
from hlfd_web.open_panel.loader import SERIES, SOURCE, Loader, Wanted, series_caption
from hlfd_web.panel import Panel
from HLFDSegmentLib.nodes import remove_nodes

if TYPE_CHECKING:
    from hlfd_web.app import Context

SAMPLE = "sample"
_LABELS = (".seg.nrrd", "labels.nii.gz")


class OpenPanel(Panel):
    """Loads one CT at a time, off the loop, and shows it."""

    name, title, icon = "open", "Open", "mdi-folder-open-outline"

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self.results = context.results
        self.loader = Loader(self.scene, self.results)
        self.loader.loaded.connect(self._on_loaded)
        self.loader.labels.connect(self._on_labels)
        self.loader.choice.connect(self._on_choice)
        self.loader.warned.connect(lambda text: context.notices.show(text, "warning"))
        self.loader.failed.connect(self._on_failed)
        self._wanted: Wanted | None = None
        self.state.update(
            {
                "open_busy": "",
                "open_folder": "",
                "open_entries": [],
                "open_more": 0,
                "open_series": [],
                "open_volumes": [],
                "open_results": [],
                "open_upload": {},
            }
        )
        self.state.change("open_upload")(self._on_upload)
        context.every(self.loader.poll)
        context.on_change.connect(self._show_volumes)

    def build(self) -> None:
        """Write the panel."""
        ui.build(self)

    def enter(self) -> None:
        """List what lies on the server now."""
        self.go_into(self.state.open_folder)
        self.show_results()

    def close(self) -> None:
        """Wait for the reader."""
        self.loader.close()

    def open_sample(self) -> None:
        """Open the simulated CT that ships with the application."""
        self._open(Wanted(sample_folder() / "sample_ct.nii.gz", SAMPLE, "Sample CT"))

    def open_path(self, name: str) -> None:
        """Open a file or DICOM folder of the data root; a segmentation is laid over the CT that is shown."""
        with self.context.notices.shown():
            path = self.context.data_root.resolve(name)
            if path.name.lower().endswith(_LABELS):
                self._open_labels(path)
            else:
                self._open(Wanted(path, name))

    def choose_series(self, uid: str) -> None:
        """Open one of the series that ``open_series`` offers; an empty UID forgets them."""
        self.state.open_series = []
        if self._wanted is not None and uid:
            self._open(Wanted(self._wanted.path, self._wanted.source, series=uid))

    def open_result(self, folder: str) -> None:
        """Open a stored result with its CT."""
        with self.context.notices.shown():
            found = next((one for one in self.results.list() if one.folder == folder), None)
            if found is None:
                raise UsageError("This result is not there any more.", "Choose another one.")
            path = self._source_path(found.source)
            self._open(Wanted(path, found.source, found.title, found.series, folder))

    def go_into(self, folder: str) -> None:
        """List a folder of the data root."""
        with self.context.notices.shown():
            listing = self.context.data_root.list(folder)
            entries = [entry.to_dict() for entry in listing.entries if entry.kind in ("folder", "image")]
            self.state.update({"open_folder": folder, "open_entries": entries, "open_more": listing.more})

    def show_volume(self, node_id: str) -> None:
        """Show one of the volumes that are open."""
        node = self._volume(node_id)
        if node is not None:
            self.context.show_volume(node)

    def close_volume(self, node_id: str) -> None:
        """Take a volume and its segmentations out of the scene."""
        node = self._volume(node_id)
        if node is None:
            return
        own = [one for one in self.scene.GetNodesByClass("vtkMRMLSegmentationNode") if _is_of(one, node)]
        if self.context.volume_node is node:
            others = [one for one in self._volumes() if one is not node]
            self.context.show_volume(others[-1] if others else None)
        remove_nodes(self.scene, *own, node)
        self._show_volumes()

    def show_results(self) -> None:
        """List the stored results."""
        self.state.open_results = [
            {"folder": one.folder, "title": one.title, "facts": f"{one.model}, {one.when}"}
            for one in self.results.list()
        ]

    def _source_path(self, source: str) -> Path:
        return sample_folder() / "sample_ct.nii.gz" if source == SAMPLE else self.context.data_root.resolve(source)

    def _open(self, wanted: Wanted) -> None:
        with self.context.notices.shown():
            self.loader.open(wanted)
            self.state.open_busy = wanted.title or wanted.path.name
            self.context.notices.speak(f"Opening {self.state.open_busy}")

    def _open_labels(self, path: Path) -> None:
        if self.context.volume_node is None:
            raise UsageError("A segmentation is laid over its CT, and none is open.", "Open the CT first.")
        self.loader.open_labels(path, self.context.volume_node)
        self.state.open_busy = path.name

    def _on_upload(self, open_upload: Any = None, **_state: Any) -> None:
        """Open what arrived, or say why it did not."""
        upload = open_upload if isinstance(open_upload, dict) else {}
        if upload.get("state") == "done":
            self.state.open_upload = {}
            self.go_into(self.state.open_folder)
            self.open_path(str(upload.get("path", "")))
        elif upload.get("state") == "failed":
            self.state.open_upload = {}
            if upload.get("message") != "Cancelled.":
                self.context.notices.show(str(upload.get("message") or "The upload failed."), "error")

    def _on_choice(self, wanted: Wanted, series: list[Any]) -> None:
        self._wanted = wanted
        self.state.open_busy = ""
        self.state.open_series = [{"uid": one.uid, "title": series_caption(one)} for one in series]

    def _on_loaded(self, node: Any, segmented: Any) -> None:
        self.state.open_busy = ""
        self.context.show_volume(node)
        self.context.tools.window("soft")
        if segmented is not None:
            self.context.panels["segment"].show_stored(segmented)
        self.context.notices.speak(f"{node.GetName()} is open")

    def _on_labels(self, node: Any) -> None:
        self.state.open_busy = ""
        self.context.show_segmentation(node)

    def _on_failed(self, error: HlfdError) -> None:
        self.state.open_busy = ""
        self.context.notices.show(error)

    def _volume(self, node_id: str) -> Any:
        return next((node for node in self._volumes() if node.GetID() == node_id), None)

    def _volumes(self) -> list[Any]:
        """Return the CTs that were opened, not the maps that other panels put into the scene."""
        nodes = self.scene.GetNodesByClass("vtkMRMLScalarVolumeNode")
        return [node for node in nodes if node.GetAttribute(SOURCE) is not None]

    def _show_volumes(self) -> None:
        shown = self.context.volume_node
        rows = [
            {"id": node.GetID(), "name": node.GetName(), "shown": node is shown, "facts": _facts(node)}
            for node in self._volumes()
        ]
        self.state.update({"open_volumes": rows, "volume_name": shown.GetName() if shown is not None else ""})


def source_of(node: Any) -> tuple[str, str]:
    """Return the name in the data root and the series that a volume was read from, empty where it was not."""
    return node.GetAttribute(SOURCE) or "", node.GetAttribute(SERIES) or ""


def _is_of(segmentation: Any, volume: Any) -> bool:
    return segmentation.GetNodeReference(segmentation.GetReferenceImageGeometryReferenceRole()) is volume


def _facts(node: Any) -> str:
    size = " \u00d7 ".join(str(n) for n in node.GetImageData().GetDimensions())
    spacing = " \u00d7 ".join(f"{mm:.2f}".rstrip("0").rstrip(".") for mm in node.GetSpacing())
    return f"{size}, {spacing} mm"
