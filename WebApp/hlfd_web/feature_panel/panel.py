"""The panel of the feature viewer: what to look at, in which colors, and what goes out."""

from __future__ import annotations

from typing import Any

from hlfd.config import SegmentSettings
from hlfd.errors import HlfdError, InputError, UsageError
from hlfd.events import Event, Progress, Stage, Warn
from hlfd.viewer import PART_MM
from hlfd.words import duration
from hlfd_web.feature_panel import words
from hlfd_web.feature_panel.exports import Exports
from hlfd_web.feature_panel.network_views import NetworkViews, make_view
from hlfd_web.feature_panel.numbers import agreement_chart, channel_rows, number_rows
from hlfd_web.feature_panel.ui import build_drawer, build_views
from hlfd_web.panel import Panel
from hlfd_web.teachers import teacher_items, teacher_source
from hlfd_web.turns import Turn
from HLFDSegmentLib.feature_colors import CHOICES
from HLFDSegmentLib.feature_layout import ORIENTATIONS
from HLFDSegmentLib.feature_logic import DEFAULT_OPACITY, FeatureLogic
from HLFDSegmentLib.feature_maps import FeatureMaps, Selection
from HLFDSegmentLib.model_catalogue import find_choice, model_choices

_MOST_CHANNELS = 40
_OWN_TEACHER = {"title": "Of the model", "value": ""}
_FIELDS: dict[str, Any] = {
    "running": False,
    "cancelling": False,
    "percent": 0,
    "text": "",
    "shown": False,
    "place": "tumor",
    "places": [],
    "model": "",
    "models": [],
    "notice": "",
    "teacher": "",
    "teachers": [_OWN_TEACHER],
    "pair": "",
    "pairs": [],
    "kind": "attention",
    "kinds": [],
    "colors": "",
    "orientation": ORIENTATIONS[0],
    "opacity": DEFAULT_OPACITY,
    "search": "",
    "channels": [],
    "channels_text": "",
    "values": "",
    "numbers": [],
    "chart": "",
}


class FeaturePanel(Panel):
    """Drives ``FeatureLogic``; its state names begin with ``feat_``."""

    name = "features"
    title = "Features"
    icon = "mdi-layers-search-outline"

    def __init__(self, context: Any) -> None:
        super().__init__(context)
        self.logic = FeatureLogic(self.scene, context.engine)
        self.exports = Exports(self)
        self._views = NetworkViews(context, self.logic.layout, self._fit)
        self._first = ""  # what is said of the layer that is there already
        self._open = False
        self._turn: Turn | None = None
        self.set(**_FIELDS)
        self._fill_places(())
        for signal, slot in (
            (self.logic.event, self._on_event),
            (self.logic.glanced, self._on_glanced),
            (self.logic.finished, self._on_finished),
            (self.logic.failed, self._on_failed),
            (self.logic.cancelled, self._on_cancelled),
            (self.logic.moved, self._on_moved),
            (self.logic.left, self._on_left),
        ):
            signal.connect(slot)
        self.state.change("feat_pair", "feat_kind")(self._on_choice)
        self.state.change("feat_search")(self._on_search)
        self.state.change("feat_colors", "feat_opacity", "feat_orientation")(self._on_look)
        self.state.change("feat_model")(self._on_model)
        context.every(self.poll)

    def set(self, **values: Any) -> None:
        """Set state of the panel by the names without their prefix."""
        self.state.update({f"feat_{name}": value for name, value in values.items()})

    def build(self) -> None:
        """Write the drawer, and the plot and the table of the layout."""
        build_drawer(self)
        build_views(self)

    def enter(self) -> None:
        """Offer the models and teachers that are installed now, and show the maps that there are."""
        self._open = True
        choices = [choice for choice in model_choices() if not choice.problem]
        wanted = find_choice(choices, str(self.state.feat_model or self.state.seg_model or ""))
        self.set(
            models=[{"title": choice.caption, "value": choice.key} for choice in choices],
            model=wanted.key if wanted is not None else "",
            teachers=teacher_items(self.context.data_root, [_OWN_TEACHER]),
        )
        self._on_model()
        self._show_views()

    def leave(self) -> None:
        """Give the views back; the maps stay, and are shown again when the panel is opened."""
        self._open = False
        self._views.leave()
        self.logic.layout.leave()

    def poll(self) -> None:
        """Take in what the worker reported."""
        self.logic.poll()
        self._views.poll()

    def close(self) -> None:
        """Stop the work and take the maps out of the scene."""
        self.context.no_more(self.poll)
        self._end_turn()
        self.logic.close()

    def start(self) -> None:
        """Look at the volume that is shown."""
        if self._turn is not None:
            return
        with self.context.notices.shown():
            if not self.state.feat_model:
                raise UsageError("No model is chosen.", "Choose one, or import one in Models.")
            if self.context.volume_node is None:
                raise InputError("No CT is open.", "Open one in the tab Open.")
            request, device = self._request(), str(self.state.seg_device or self.context.device)
            settings = SegmentSettings(model=self.state.feat_model, device=device)
            self._first = ""
            self.set(running=True, cancelling=False, percent=0, text="Starting...")
            line = "cpu" if device == "auto" else device
            self._turn = Turn(self.context, line, lambda: self._begin(settings, request), self._on_waiting)

    def _begin(self, settings: SegmentSettings, request: dict[str, Any]) -> None:
        """Start, now that it is this session's turn to use the device."""
        try:
            self.logic.engine.settings = settings
            self.logic.start(self.context.volume_node, request)
        except HlfdError as error:
            self._on_failed(error)

    def _on_waiting(self, ahead: int) -> None:
        self.set(text=f"Waiting: {ahead} job{'s' if ahead > 1 else ''} of others before this one...")

    def _end_turn(self) -> None:
        if self._turn is not None:
            self._turn.end()
            self._turn = None

    def _request(self) -> dict[str, Any]:
        """Return the fields of the request that are chosen: teacher, and which part of the volume is looked at."""
        place, request = str(self.state.feat_place), {}
        teacher = teacher_source(self.context.data_root, str(self.state.feat_teacher or ""))
        if teacher:
            request["teacher"] = teacher
        if place.startswith("region:"):
            return {**request, "region": int(place.partition(":")[2])}
        if place == "crosshair":
            request["around"] = self.logic.layout.crosshair()
        return {**request, "part_mm": 0.0 if place == "whole" else PART_MM}

    def cancel(self) -> None:
        """Ask the networks to stop, or leave the line."""
        if not self.logic.running:
            self._on_cancelled("Cancelled by the user.")
            return
        self.set(cancelling=True, text="Cancelling...")
        self.logic.cancel()

    def leave_maps(self) -> None:
        """Restore the layout, and take the maps out of the scene."""
        self.logic.leave()
        self.context.views.redraw()

    def show_channel(self, role: str, channel: int) -> None:
        """Show a channel of one network, and leave those of the others."""
        with self.context.notices.shown():
            self.logic.show_channel(role, int(channel))
            self._fill_choices()
            self.context.views.redraw()

    def _on_event(self, event: Event) -> None:
        if isinstance(event, Stage):
            self.set(text=self._first + words.stage_text(event.name))
            if event.name in words.ROLE_OF_STAGE:
                make_view(self.context, words.ROLE_OF_STAGE[event.name])
        elif isinstance(event, Progress) and event.total:
            self.set(percent=int(100 * event.done / event.total))
        elif isinstance(event, Warn):
            self.context.notices.show(event.message, "warning")

    def _on_glanced(self, maps: FeatureMaps) -> None:
        self._show_all(maps)
        text = f"Layer {maps.pairs[0]} is shown first: {words.place(maps)}."
        self._first = f"{text} The other layers, class evidence and full precision follow.\n"
        self.set(text=self._first.strip(), percent=0)

    def _on_finished(self, maps: FeatureMaps) -> None:
        self._end_turn()
        self._show_all(maps)
        done = f"Done in {duration(maps.answer['seconds'])} on {maps.answer['device']}."
        self.set(running=False, text="\n".join([f"{done} Shown: {words.place(maps)}.", *words.notes(maps)]))
        self.context.notices.speak(done)

    def _on_failed(self, error: HlfdError) -> None:
        self._end_turn()
        self.set(running=False, text=f"{error.message} {words.what_stays(self.logic.maps)}".strip())
        self.context.notices.show(error)

    def _on_cancelled(self, reason: str) -> None:
        self._end_turn()
        kept = words.what_stays(self.logic.maps)
        self.set(running=False, shown=self.logic.maps is not None, text=f"{reason} {kept}".strip())

    def _on_moved(self, position: tuple[float, float, float]) -> None:
        self._views.stop()
        self.set(values=words.values_text(self.logic.values_at(position)))

    def _on_left(self) -> None:
        self._views.leave()
        self.set(shown=False, values="", numbers=[], chart="", channels=[], channels_text="", pairs=[], kinds=[])
        if not self.logic.running:
            self.set(text="")

    def _show_all(self, maps: FeatureMaps) -> None:
        if not self._open:
            self.logic.layout.leave()  # another panel has the views
        else:
            self._views.enter(maps.roles, watch=not self.state.feat_shown)
        self._fill_places(maps.regions)
        self.set(shown=True, numbers=number_rows(maps))
        self._fill_choices()
        self._on_look()

    def _show_views(self) -> None:
        """Show the layout of the maps where it was left."""
        logic, maps = self.logic, self.logic.maps
        if maps is None or logic.layout.entered:
            return
        logic.layout.enter(maps.roles)
        logic.layout.follow_crosshair(logic.moved.emit)
        self._views.enter(maps.roles)
        self.context.views.redraw()

    def _fill_places(self, regions: tuple[str, ...]) -> None:
        items = [{"title": title, "value": value} for value, title in words.PLACES.items()]
        items += [{"title": f"Whole {name}", "value": f"region:{index}"} for index, name in enumerate(regions)]
        kept = self.state.feat_place in [item["value"] for item in items]
        self.set(places=items, place=self.state.feat_place if kept else "tumor")

    def _fill_choices(self) -> None:
        """List the layer pairs and kinds of map that there are, and show which are chosen."""
        maps, selection = self.logic.maps, self.logic.selection
        if maps is None or selection is None:
            return
        kinds = [{"title": words.KINDS[kind], "value": kind} for kind in maps.kinds(selection.pair)]
        self.set(pairs=list(maps.pairs), pair=selection.pair, kinds=kinds, kind=selection.kind)
        self.set(chart=agreement_chart(maps, selection.pair))
        self._on_search()

    def _on_search(self, **_state: Any) -> None:
        maps, selection = self.logic.maps, self.logic.selection
        if maps is None or selection is None:
            return
        rows, fitting = channel_rows(maps, selection, str(self.state.feat_search or ""), _MOST_CHANNELS)
        more = f"{len(rows)} of {fitting} channels; search by number or network." if fitting > len(rows) else ""
        self.set(channels=rows, channels_text="No channel fits." if not fitting else more)

    def _on_choice(self, **_state: Any) -> None:
        maps, before = self.logic.maps, self.logic.selection
        pair, kind = self.state.feat_pair, self.state.feat_kind
        if maps is None or before is None or (pair, kind) == (before.pair, before.kind):
            return
        with self.context.notices.shown():
            kept = before.channels if pair == before.pair else ()
            self.logic.show(Selection(pair, kind if kind in maps.kinds(pair) else "attention", kept))
            self._fill_choices()
            self.context.views.redraw()

    def _on_look(self, **_state: Any) -> None:
        with self.context.notices.shown():
            opacity, colors = float(self.state.feat_opacity), str(self.state.feat_colors)
            if opacity != self.logic.opacity:
                self.logic.set_opacity(opacity)
            if colors != self.logic.color_table and colors in ("", *CHOICES):
                self.logic.set_color_table(colors)
            if self.state.feat_orientation in ORIENTATIONS:
                self._orient(str(self.state.feat_orientation))
            self.context.views.redraw()

    def _orient(self, orientation: str) -> None:
        layout, maps = self.logic.layout, self.logic.maps
        if maps is None or not layout.entered:
            return
        if any(layout.slice_node(role).GetOrientation() != orientation for role in maps.roles):
            position = layout.position()
            layout.orient(orientation)
            layout.look_at(position, maps.reach * 1.1)

    def _on_model(self, **_state: Any) -> None:
        choice = next((one for one in model_choices() if one.key == self.state.feat_model), None)
        self.set(notice=choice.notice if choice is not None else "")

    def _fit(self) -> None:
        maps = self.logic.maps
        if maps is not None and self.logic.layout.entered:
            self.logic.layout.look_at(maps.focus, maps.reach * 1.1)
            self.context.views.redraw()
