"""The widgets of the tab Open."""

from __future__ import annotations

from typing import TYPE_CHECKING

from trame.widgets import html
from trame.widgets import vuetify3 as v3

if TYPE_CHECKING:
    from hlfd_web.open_panel.panel import OpenPanel

_KINDS = ".nii,.gz,.nrrd,.mha,.dcm,.zip"


def build(panel: OpenPanel) -> None:
    """Write the panel."""
    html.H2("Open a CT")
    v3.VBtn(
        "Sample CT",
        prepend_icon="mdi-cube-scan",
        block=True,
        color="primary",
        variant="flat",
        click=(panel.open_sample, "[]"),
        disabled=("!!open_busy",),
        data_testid="open-sample",
    )
    html.Div("Simulated, of no patient; kidneys with a tumor and a cyst.", classes="hlfd-muted mt-1")
    _uploads()
    _busy(panel)
    _series(panel)
    _volumes(panel)
    _files(panel)
    _results(panel)


def _uploads() -> None:
    with html.Div(classes="hlfd-row mt-3"):
        for name, title, icon, folder in (
            ("open-file", "Upload a file", "mdi-upload", False),
            ("open-dicom", "Upload a folder", "mdi-folder-upload-outline", True),
        ):
            v3.VBtn(
                title,
                prepend_icon=icon,
                variant="tonal",
                classes="flex-grow-1",
                data_hlfd_choose=name,
                disabled=("open_upload.state === 'running'",),
                data_testid=f"{name}-button",
            )
            extra = {"webkitdirectory": True} if folder else {"accept": _KINDS}
            html.Input(
                type="file",
                id=name,
                multiple=True,
                hidden=True,
                data_hlfd_upload="open_upload",
                data_hlfd_purpose="image",
                aria_label=title,
                data_testid=f"{name}-input",
                **extra,
            )
    html.Div("NIfTI, NRRD, MetaImage, or DICOM: a folder, its slices, or a zip.", classes="hlfd-muted mt-1")
    with html.Div(v_if="open_upload.state === 'running'", classes="mt-2", data_testid="open-upload"):
        html.Div("Uploading {{ open_upload.name }}: {{ open_upload.percent }} %", aria_live="polite")
        with html.Div(classes="hlfd-row"):
            v3.VProgressLinear(model_value=("open_upload.percent",), height=8, rounded=True, color="primary")
            v3.VBtn("Cancel", size="small", variant="text", data_hlfd_cancel="open_upload", data_testid="upload-cancel")


def _busy(panel: OpenPanel) -> None:
    with html.Div(v_if="open_busy", classes="mt-3", data_testid="open-busy", aria_live="polite"):
        html.Div("Opening {{ open_busy }}...")
        with html.Div(classes="hlfd-row"):
            v3.VProgressLinear(indeterminate=True, height=6, rounded=True, color="primary")
            v3.VBtn(
                "Cancel", size="small", variant="text", click=(panel.loader.cancel, "[]"), data_testid="open-cancel"
            )


def _series(panel: OpenPanel) -> None:
    with (
        v3.VDialog(model_value=("open_series.length > 0",), persistent=True, max_width=560),
        v3.VCard(title="Which series?", data_testid="series-dialog"),
    ):
        with v3.VList():
            v3.VListItem(
                v_for="one in open_series",
                key="one.uid",
                title=("one.title",),
                click=(panel.choose_series, "[one.uid]"),
                data_testid="series-item",
            )
        with v3.VCardActions():
            v3.VSpacer()
            v3.VBtn("Cancel", click=(panel.choose_series, "['']"))


def _volumes(panel: OpenPanel) -> None:
    with html.Div(v_if="open_volumes.length", data_testid="open-volumes"):
        html.H2("Open now")
        with (
            v3.VList(density="compact", classes="py-0", bg_color="transparent", aria_label="Open volumes"),
            v3.VListItem(
                v_for="one in open_volumes",
                key="one.id",
                title=("one.name",),
                subtitle=("one.facts",),
                active=("one.shown",),
                color="primary",
                rounded=True,
                click=(panel.show_volume, "[one.id]"),
                data_testid="open-volume",
            ),
            v3.Template(v_slot_append=True),
        ):
            v3.VBtn(
                icon="mdi-close",
                size="small",
                variant="text",
                v_on_click_stop=(panel.close_volume, "[one.id]"),
                aria_label=("'Close ' + one.name",),
                data_testid="close-volume",
            )


def _files(panel: OpenPanel) -> None:
    html.H2("Files of the server")
    with html.Div(classes="hlfd-row", v_if="open_folder"):
        v3.VBtn(
            icon="mdi-arrow-up",
            size="small",
            variant="text",
            click=(panel.go_into, "[open_folder.split('/').slice(0, -1).join('/')]"),
            aria_label="Up to the folder above",
            data_testid="folder-up",
        )
        html.Div("{{ open_folder }}", classes="hlfd-wrap")
    v3.VBtn(
        "Open this folder as DICOM",
        v_if="open_folder && open_entries.some(one => one.name.endsWith('.dcm') || one.kind === 'folder')",
        size="small",
        variant="tonal",
        classes="my-1",
        prepend_icon="mdi-layers-outline",
        click=(panel.open_path, "[open_folder]"),
        disabled=("!!open_busy",),
        data_testid="open-folder",
    )
    with v3.VList(density="compact", classes="py-0", bg_color="transparent", aria_label="Files of the server"):
        v3.VListItem(
            v_for="one in open_entries",
            key="one.path",
            title=("one.name",),
            subtitle=("one.kind === 'folder' ? undefined : (one.size / 1048576).toFixed(1) + ' MB'",),
            prepend_icon=("one.kind === 'folder' ? 'mdi-folder-outline' : 'mdi-image-outline'",),
            click=f"one.kind === 'folder' ? {_call(panel.go_into, panel)} : {_call(panel.open_path, panel)}",
            data_testid=("'file-' + one.name",),
        )
    html.Div("Nothing here yet: upload a CT.", v_if="!open_entries.length", classes="hlfd-muted")
    html.Div("{{ open_more }} more are not shown.", v_if="open_more", classes="hlfd-muted")


def _call(function: object, panel: OpenPanel) -> str:
    return f"trigger('{panel.server.trigger_name(function)}', [one.path])"


def _results(panel: OpenPanel) -> None:
    with html.Div(v_if="open_results.length", data_testid="open-results"):
        html.H2("Earlier results")
        with v3.VList(density="compact", classes="py-0", bg_color="transparent", aria_label="Earlier results"):
            v3.VListItem(
                v_for="one in open_results",
                key="one.folder",
                title=("one.title",),
                subtitle=("one.facts",),
                prepend_icon="mdi-file-restore-outline",
                click=(panel.open_result, "[one.folder]"),
                data_testid="open-result",
            )
