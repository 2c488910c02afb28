"""Views of a session: layouts, windows of gray, keys, cross-hair, and what is drawn when."""

from __future__ import annotations

import collections

import pytest
import slicer
from trame_slicer.views.render_scheduler import NoScheduleRendering

from hlfd_web.views_layout import LAYOUTS, ViewKind, read_layout
from hlfd_web.views_slices import direction_letters, position_text
from HLFDSegmentLib.feature_layout import FeatureLayout, layout_xml
from Testing.web.conftest import make_context


@pytest.fixture(scope="module")
def shared_context(tmp_path_factory):
    from hlfd_web.files import DataRoot

    forget_managers()
    folder = tmp_path_factory.mktemp("views")
    made = make_context(DataRoot(folder / "root"), folder / "private")
    yield made
    made.close()


def forget_managers():
    """Forget what other tests of this process, such as those of pictures, let slice views show."""
    factory = slicer.vtkMRMLSliceViewDisplayableManagerFactory.GetInstance()
    names = [
        factory.GetRegisteredDisplayableManagerName(n) for n in range(factory.GetRegisteredDisplayableManagerCount())
    ]
    for name in names:
        factory.UnRegisterDisplayableManager(name)


@pytest.fixture
def context(shared_context):
    """One context for all tests here, put back to how a session begins."""
    shared_context.show_volume(None)
    shared_context.views.show_layout("quad")
    with shared_context.state:
        shared_context.state.update({"view_mouse": "look", "view_crosshair": True, "view_volume": False})
    return shared_context


class Counting(NoScheduleRendering):
    """Counts how often a view is to be drawn."""

    def __init__(self):
        super().__init__()
        self.count = 0

    def schedule_render(self):
        self.count += 1


def slice_views(context):
    return [context.views.view(tag) for tag in ("Red", "Green", "Yellow")]


def set_state(context, **values):
    with context.state:
        context.state.update(values)


def test_four_views_are_shown_first_each_in_its_direction(context):
    assert context.views.layout == "quad"
    assert context.state.view_layout == "quad"
    assert [view.get_orientation() for view in slice_views(context)] == ["Axial", "Coronal", "Sagittal"]
    assert context.views.three_d_view() is not None


@pytest.mark.parametrize("name", LAYOUTS)
def test_every_layout_that_is_offered_can_be_shown(context, name):
    context.views.show_layout(name)
    assert context.views.layout == context.state.view_layout == name


def test_slicers_layouts_are_read_with_their_plots_tables_and_sizes():
    layout = read_layout(layout_xml(["teacher", "student"]))
    kinds = [view.view_type for view in layout.get_views(is_recursive=True)]
    assert kinds == [ViewKind.SLICE_VIEW, ViewKind.SLICE_VIEW, ViewKind.PLOT_VIEW, ViewKind.TABLE_VIEW]
    assert layout.flex_sizes == ["650", "350"]


def test_what_is_no_layout_is_refused():
    with pytest.raises(ValueError, match="<view>"):
        read_layout("<view/>")


def test_a_layout_that_a_library_sets_in_the_scene_is_shown_and_left_again(context):
    layout = FeatureLayout(context.scene)
    layout.enter(["student"])
    assert context.views.layout == ""
    assert context.views.view("HLFDStudent").get_view_node() is layout.slice_node("student")
    layout.leave()
    assert context.views.layout == "quad"


def test_the_directions_at_the_borders_are_those_of_a_radiologist(context, ct_node):
    letters = ["".join(direction_letters(view)) for view in slice_views(context)]
    assert letters == ["RLAP", "RLSI", "APSI"]


def test_the_position_of_a_slice_is_told_with_its_side(context, ct_node):
    axial = slice_views(context)[0]
    axial.set_slice_value(-12.0)
    assert position_text(axial) == "I 12.0 mm"


def test_a_slider_moves_its_view_and_a_view_its_slider(context, ct_node):
    axial = slice_views(context)[0]
    set_state(context, view_Red_offset=3.0)
    assert axial.get_slice_value() == pytest.approx(3.0)
    axial.set_slice_value(9.0)
    context.tick()
    assert context.state.view_Red_offset == pytest.approx(9.0)


@pytest.mark.parametrize("nonsense", ["far", None, {"x": 1}, float("nan"), float("inf"), 1e9])
def test_a_slider_position_that_is_no_number_changes_nothing(context, ct_node, nonsense):
    before = slice_views(context)[0].get_slice_value()
    set_state(context, view_Red_offset=nonsense)
    assert slice_views(context)[0].get_slice_value() == before


def test_steps_are_slices_and_end_at_the_borders(context, ct_node):
    axial = slice_views(context)[0]
    low, high = axial.get_slice_range()
    before = axial.get_slice_value()
    context.tools.step("Red", 2)
    assert axial.get_slice_value() == pytest.approx(before + 6.0)
    context.tools.key("End", "Red")
    assert axial.get_slice_value() == pytest.approx(high)
    context.tools.key("Home", "Red")
    assert axial.get_slice_value() == pytest.approx(low)


def test_scrolling_one_view_draws_no_other(context, ct_node):
    counts = collections.OrderedDict((view, Counting()) for view in slice_views(context))
    before = {view: view._scheduled_render for view in counts}
    for view, counting in counts.items():
        view.set_scheduled_render(counting)
    context.tools.step("Red", 1)
    for view, strategy in before.items():
        view.set_scheduled_render(strategy)
    red, green, yellow = (counting.count for counting in counts.values())
    assert red > 0
    assert (green, yellow) == (0, 0)


def test_windows_of_gray_are_those_of_their_names(context, ct_node):
    context.tools.key("4", "Red")
    display = ct_node.GetDisplayNode()
    assert (display.GetWindow(), display.GetLevel()) == (1500.0, -600.0)
    assert (context.state.view_window, context.state.view_gray) == ("lung", "W 1500 L -600")


def test_a_window_that_the_mouse_made_is_nobodys(context, ct_node):
    ct_node.GetDisplayNode().SetWindowLevel(333.0, 12.0)
    assert (context.state.view_window, context.state.view_gray) == ("own", "W 333 L 12")


def test_the_mouse_changes_the_window_only_in_its_mode(context):
    node = context.slicer_app.app_logic.GetInteractionNode()
    set_state(context, view_mouse="window")
    assert node.GetCurrentInteractionMode() == node.AdjustWindowLevel
    set_state(context, view_mouse="look")
    assert node.GetCurrentInteractionMode() == node.ViewTransform


def drag(view, start, end):
    """Press the left button, move and release, as the page sends it."""
    interactor = view.interactor()
    interactor.SetEventInformation(*start, 0, 0)
    interactor.MouseMoveEvent()
    interactor.LeftButtonPressEvent()
    for part in range(1, 5):
        place = (start[axis] + (end[axis] - start[axis]) * part // 4 for axis in range(2))
        interactor.SetEventInformation(*place, 0, 0)
        interactor.MouseMoveEvent()
    interactor.LeftButtonReleaseEvent()


def test_a_drag_changes_the_window_in_its_mode(context, ct_node):
    axial = slice_views(context)[0]
    axial.update_size(200, 200)
    axial.interactor().InvokeEvent("WindowResizeEvent")
    axial.render_window().Render()
    drag(axial, (60, 60), (140, 100))
    assert context.state.view_gray == "W 400 L 40"
    set_state(context, view_mouse="window")
    drag(axial, (60, 60), (140, 100))
    assert context.state.view_gray != "W 400 L 40"


def test_a_drag_in_the_mode_of_the_crosshair_moves_the_other_views(context, ct_node):
    axial, _coronal, sagittal = slice_views(context)
    axial.update_size(200, 200)
    axial.interactor().InvokeEvent("WindowResizeEvent")
    before = sagittal.get_slice_value()

    def press():
        axial.interactor().SetEventInformation(140, 100, 0, 0)
        axial.interactor().LeftButtonPressEvent()
        axial.interactor().LeftButtonReleaseEvent()

    press()
    assert sagittal.get_slice_value() == before
    set_state(context, view_mouse="cross")
    press()
    assert sagittal.get_slice_value() != before


def test_going_to_a_position_centers_the_slices_and_puts_the_crosshair_there(context, ct_node):
    context.views.go_to((5.0, -4.0, 6.0))
    for view in slice_views(context):
        matrix = view.get_view_node().GetSliceToRAS()
        assert [matrix.GetElement(row, 3) for row in range(3)] == pytest.approx((5.0, -4.0, 6.0))
    crosshair = context.scene.GetSingletonNode("default", "vtkMRMLCrosshairNode")
    assert tuple(crosshair.GetCrosshairRAS()) == pytest.approx((5.0, -4.0, 6.0))


def test_the_crosshair_can_be_hidden(context):
    crosshair = context.scene.GetSingletonNode("default", "vtkMRMLCrosshairNode")
    context.tools.key("c", "Red")
    context.state.flush()
    assert crosshair.GetCrosshairMode() == crosshair.NoCrosshair


def test_zoom_is_limited_and_both_ways(context, ct_node):
    node = slice_views(context)[0].get_view_node()
    width = node.GetFieldOfView()[0]
    context.tools.zoom("Red", 2.0)
    assert node.GetFieldOfView()[0] == pytest.approx(width / 2)
    context.tools.zoom("Red", 1e-9)
    assert node.GetFieldOfView()[0] == pytest.approx(width / 2 * 5)


def test_a_view_can_be_shown_alone_and_with_the_others_again(context):
    context.tools.key("m", "Green")
    assert context.views.layout == "coronal"
    context.tools.key("m", "Green")
    assert context.views.layout == "quad"


def test_volume_rendering_is_made_when_it_is_wanted_and_hidden_again(context, ct_node):
    rendering = context.slicer_app.volume_rendering
    assert not rendering.has_vr_display_node(ct_node)
    set_state(context, view_volume=True)
    assert rendering.get_vr_display_node(ct_node).GetVisibility()
    set_state(context, view_volume=False)
    assert not rendering.get_vr_display_node(ct_node).GetVisibility()


@pytest.mark.parametrize(("key", "view"), [("5", "Nowhere"), ("!", "Red"), ("m", "Nowhere"), ("+", "Nowhere")])
def test_keys_and_views_that_do_not_exist_are_passed_over(context, key, view):
    context.tools.key(key, view)
    assert context.state.notices == []
