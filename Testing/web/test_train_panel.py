"""A person collects cases and trains on in the browser; the real worker, and the real process of a training."""

from __future__ import annotations

import itertools
import json
import time

import numpy as np
import pytest

from Testing.web.in_process import session, wait_for

pytest.importorskip("trame_slicer", reason="trame-slicer is not installed: pip install 'hlfd[slicer]'")
pytest.importorskip("torch", reason="torch is not installed: pip install 'hlfd[train]'")

PATIENCE_S = 400.0  # on a machine that others use too


@pytest.fixture(scope="module")
def opened(tmp_path_factory):
    """One session for all tests here, with a tiny model, and trainings apart from everyone else's."""
    from hlfd_web.train_panel import TrainPanel
    from Testing.tiny_training import write_tiny_model

    folder = tmp_path_factory.mktemp("training")
    with pytest.MonkeyPatch.context() as patch, session(folder) as context:
        patch.setenv("HLFD_MODELS", str(context.data_root.models))
        patch.setenv("HLFD_RUN_LOCK", str(folder / "training.lock"))
        patch.setenv("OMP_NUM_THREADS", "1")
        write_tiny_model(context.data_root.models)
        panel = TrainPanel(context)
        context.panels["train"] = panel
        panel.enter()
        yield panel


@pytest.fixture
def panel(opened):
    """The panel as it is opened, with an empty scene."""
    context = opened.context
    for kind in ("vtkMRMLSegmentationNode", "vtkMRMLScalarVolumeNode"):
        while context.scene.GetNumberOfNodesByClass(kind):
            context.scene.RemoveNode(context.scene.GetNthNodeByClass(0, kind))
    context.volume_node = context.segmentation_node = None
    context.changed()
    opened.enter()
    wait_for(context, lambda: idle(opened), 60)
    context.state.notices = []
    yield opened
    run = opened.training.run
    if run is not None and run.state.active:  # a test failed in the middle
        run.cancel()
        wait_for(context, lambda: not run.state.active, 60)


@pytest.fixture
def context(panel):
    return panel.context


@pytest.fixture
def data_root(panel):
    return panel.context.data_root


@pytest.fixture
def wait_until(panel):
    return lambda holds, seconds: wait_for(panel.context, holds, seconds)


def set_state(panel, **values) -> None:
    with panel.state as state:
        for name, value in values.items():
            state[f"train_{name}"] = value


def idle(panel) -> bool:
    return not panel.cases.task


_NUMBERS = itertools.count(1)


@pytest.fixture
def project(panel, wait_until):
    """An empty project of its own."""
    set_state(panel, new_name=f"cases {next(_NUMBERS)}", new_model="tiny/1.0.0")
    before = panel.cases.project
    panel.project.create()
    wait_until(lambda: idle(panel) and panel.cases.project is not before, 60)
    return panel.cases.project


def show_case(panel, number: int) -> None:
    from HLFDSegmentLib.segmentations import segmentation_from_label_map
    from HLFDSegmentLib.volumes import volume_to_node
    from Testing.tiny_training import draw_case

    volume, labels = draw_case(number)
    node = volume_to_node(panel.scene, volume, f"scan {number}")
    panel.context.show_volume(node)
    panel.context.show_segmentation(segmentation_from_label_map(panel.scene, labels, node))
    panel.adding.show()


def add_cases(panel, roles) -> None:
    for number, role in enumerate(roles):
        show_case(panel, number)
        set_state(panel, add_title=f"scan {number}", add_role=role)
        panel.adding.add()
        wait_for(panel.context, lambda: idle(panel), 120)
    assert len(panel.cases.cases) == len(roles), panel.state.notices


@pytest.fixture
def three_cases(panel, data_root, wait_until):
    """The project "shared" with a case of each role, made once."""
    made = (data_root.projects / "shared").is_dir()
    set_state(panel, **({"project": "shared"} if made else {"new_name": "shared", "new_model": "tiny/1.0.0"}))
    (panel.project.open if made else panel.project.create)()
    wait_until(lambda: idle(panel) and panel.state.train_open_project == "shared", 60)
    if not made:
        add_cases(panel, ("train", "validation", "test"))
    return panel


def want_steps(panel, steps: int) -> None:
    set_state(panel, start_model="tiny/1.0.0", steps=steps, patch=16, replay=0.0)


def trained(panel, wait_until) -> None:
    wait_until(lambda: panel.training.state is not None and not panel.training.state.active, PATIENCE_S)


def test_a_project_is_made_in_the_data_root_and_listed(panel, project, data_root):
    name = project.folder.name
    assert (data_root.projects / name / "project.json").is_file()
    assert name in panel.state.train_projects
    assert panel.state.train_open_project == name
    assert "0 cases" in panel.state.train_project_text


@pytest.mark.parametrize("name", ["../outside", "/etc/x", "a/b", "..", ".hidden", "a\\b"])
def test_a_name_that_leads_out_of_the_projects_is_refused(panel, data_root, name):
    before = sorted(data_root.folder.parent.rglob("project.json"))
    set_state(panel, new_name=name, new_model="tiny/1.0.0")
    panel.project.create()
    set_state(panel, project=name)
    panel.project.open()
    assert idle(panel)
    assert {notice["kind"] for notice in panel.state.notices} == {"error"}
    assert sorted(data_root.folder.parent.rglob("project.json")) == before


def test_what_is_shown_becomes_a_case_by_the_table_of_labels(panel, project, wait_until):
    show_case(panel, 0)
    table = {row["name"]: row["label"] for row in panel.state.train_map}
    assert table["kidney tumor"] == "kidney tumor"
    assert panel.state.train_add_ready
    row = next(row for row in panel.state.train_map if row["name"] == "kidney cyst")
    panel.adding.choose(row["key"], "")
    assert "1 segments are left out" in panel.state.train_add_text
    set_state(panel, add_title="first")
    panel.adding.add()
    wait_until(lambda: idle(panel), 120)
    (case,) = panel.state.train_cases
    assert case["name"] == "first"
    assert case["picture"].startswith("data:image/png;base64,")
    assert "kidney cyst" not in case["volumes"]
    assert not panel.state.train_add_ready  # it is a case already


def test_roles_are_changed_and_cases_removed_after_asking(panel, project, wait_until):
    add_cases(panel, ("train",))
    first = panel.state.train_cases[0]["id"]
    panel.list.set_role(first, "unused")
    wait_until(lambda: idle(panel) and panel.state.train_cases[0]["role"] == "unused", 30)
    panel.list.remove(first)
    assert "Remove" in panel.state.train_ask_text
    panel.answer(False)
    assert idle(panel)
    panel.list.remove(first)
    panel.answer(True)
    wait_until(lambda: idle(panel) and not panel.state.train_cases, 30)


def test_a_case_is_corrected_and_saved(panel, project, context, wait_until):
    add_cases(panel, ("train",))
    context.scene.RemoveNode(context.segmentation_node)
    context.segmentation_node = None
    panel.show()
    case = panel.state.train_cases[0]
    assert not case["in_scene"]
    panel.list.edit(case["id"])
    wait_until(lambda: idle(panel), 60)
    assert context.state.panel == "edit"
    assert context.segmentation_node is not None
    segmentation = context.segmentation_node.GetSegmentation()
    segmentation.RemoveSegment(segmentation.GetSegmentIdBySegmentName("kidney tumor"))
    assert panel.state.train_cases[0]["in_scene"]
    panel.list.save(case["id"])
    wait_until(lambda: idle(panel), 60)
    assert "kidney tumor" not in panel.state.train_cases[0]["volumes"]


def test_a_folder_is_checked_before_it_is_imported(panel, project, data_root, wait_until):
    from hlfd.io import write_label_map, write_volume
    from Testing.tiny_training import draw_case

    folder = data_root.folder / "scans"
    volume, labels = draw_case(1)
    for name in ("imagesTr", "labelsTr"):
        (folder / name).mkdir(parents=True)
    write_volume(volume, folder / "imagesTr" / "a_0000.nii.gz")
    write_label_map(labels, folder / "labelsTr" / "a.nii.gz")
    table = {"background": 0, **{label.name: label.value for label in labels.labels}}
    described = {"channel_names": {"0": "CT"}, "labels": table, "numTraining": 1, "file_ending": ".nii.gz"}
    (folder / "dataset.json").write_text(json.dumps(described))
    panel.imports.refresh()
    assert "scans" in panel.state.train_folders
    set_state(panel, import_folder="scans")
    assert not panel.state.train_import_ready
    panel.imports.check()
    wait_until(lambda: idle(panel), 60)
    assert panel.state.train_import_text == "1 of 1 cases can be used."
    assert {row["label"] for row in panel.state.train_values} >= {"kidney tumor"}
    assert panel.state.train_import_ready
    panel.imports.run()
    wait_until(lambda: idle(panel), 60)
    assert panel.state.train_import_text == "1 cases were added."
    assert len(panel.state.train_cases) == 1


@pytest.mark.parametrize("name", ["../..", "/etc", "nowhere", "scans/../../.."])
def test_a_folder_outside_of_the_data_root_is_not_looked_at(panel, project, name):
    set_state(panel, import_folder=name, suggest_folder=name)
    panel.imports.check()
    panel.suggest.run()
    assert idle(panel)
    assert panel.state.notices


def test_the_cts_of_a_folder_are_ordered_and_one_is_opened(panel, project, data_root, context, wait_until):
    from hlfd.io import write_volume
    from Testing.tiny_training import draw_case

    folder = data_root.uploads / "unlabeled"
    folder.mkdir()
    for number in range(2):
        write_volume(draw_case(number)[0], folder / f"ct-{number}.nii.gz")
    set_state(panel, start_model="tiny/1.0.0", suggest_folder="uploads/unlabeled")
    panel.suggest.run()
    wait_until(lambda: idle(panel), 120)
    assert panel.state.train_suggest_text.startswith("2 CTs"), panel.state.notices
    panel.suggest.load(0)
    wait_until(lambda: context.volume_node is not None, 30)
    assert context.volume_node.GetName() in ("ct-0", "ct-1")


def test_a_training_is_followed_to_its_result_and_the_model_is_used(three_cases, context, wait_until):
    from hlfd.runs import State

    panel = three_cases
    used = []

    class Segment:
        use_model = staticmethod(used.append)

    context.panels["segment"] = Segment()
    want_steps(panel, 4)
    panel.run.start()
    assert panel.state.train_active, panel.state.notices
    set_state(panel, live=True)
    assert panel.training.live.entered
    trained(panel, wait_until)
    assert panel.training.state is State.FINISHED, panel.training.run.log_tail()
    time.sleep(0.6)
    context.tick()
    assert panel.state.train_loss_chart.startswith("<svg")
    assert panel.state.train_dice_chart.startswith("<svg")
    assert panel.state.train_sample.startswith("data:image/png")
    assert "tiny 1.0.0.1" in panel.state.train_result_text
    rows = panel.state.train_result_rows
    assert {row["name"] for row in rows} == {"all, mean", "scan 2"}
    assert all("→" in row["cells"][0] for row in rows)

    panel.outcome.show_case(next(row["case"] for row in rows if row["case"]))
    wait_until(lambda: bool(panel.state.train_compared), 60)
    assert context.views.layout == ""
    assert len(shown_segmentations(context)) == 3
    panel.outcome.leave_overlay()
    assert context.views.layout == "quad"

    panel.outcome.use()
    if panel.state.train_ask_text:
        panel.answer(True)
    wait_until(lambda: bool(used), 60)
    assert used == ["tiny/1.0.0.1"]
    assert "tiny/1.0.0.1" in [item["value"] for item in panel.state.train_start_models]

    panel.outcome.export_zip()
    wait_until(lambda: bool(context.state.download), 60)
    assert context.state.download["name"] == "tiny-1.0.0.1.zip"
    assert (context.folder / "downloads" / "tiny-1.0.0.1.zip").stat().st_size > 1000
    panel.outcome.export_bundle()
    wait_until(lambda: "bundle" in context.state.download["name"], 120)
    assert (context.folder / "downloads" / context.state.download["name"]).stat().st_size > 1000


def shown_segmentations(context) -> list:
    kind = "vtkMRMLSegmentationNode"
    nodes = [context.scene.GetNthNodeByClass(n, kind) for n in range(context.scene.GetNumberOfNodesByClass(kind))]
    return [node for node in nodes if node.GetName().startswith("case-")]


@pytest.mark.slow
def test_a_training_goes_on_without_its_session_and_is_found_again(three_cases, context, wait_until):
    from hlfd.runs import State
    from hlfd_web.train_panel import TrainPanel

    panel = three_cases
    want_steps(panel, 2000)
    panel.run.start()
    wait_until(lambda: panel.training.state is State.RUNNING, 60)
    panel.training.detach()  # as when the session ends; its process goes on
    again = TrainPanel(context)
    again.enter()
    wait_until(lambda: idle(again) and again.training.state is not None, 60)
    assert again.state.train_open_project == "shared"
    assert again.state.train_active
    again.run.pause_or_resume()
    wait_until(lambda: again.training.state is State.PAUSED, 120)
    assert again.state.train_resumable
    assert "Resume" in again.state.train_stage
    again.run.pause_or_resume()
    wait_until(lambda: again.training.state is State.RUNNING, 120)
    again.run.cancel()
    again.answer(True)
    wait_until(lambda: again.training.state is State.CANCELLED, 60)
    assert not again.state.train_active
    again.close()


def test_a_second_training_is_refused_and_the_first_is_named(three_cases, wait_until):
    panel = three_cases
    want_steps(panel, 2000)
    panel.run.start()
    first = panel.training.run
    panel.training.detach()
    panel.run.show()
    assert "only one runs at a time" in panel.state.train_elsewhere
    panel.run.start()
    assert f"A training is running already: {first.id}" in panel.state.notices[-1]["text"]
    panel.training.attach(first)
    panel.run.cancel()
    panel.answer(True)
    wait_until(lambda: not first.state.active, 120)


@pytest.mark.slow
def test_an_estimate_tells_time_and_memory(three_cases, wait_until):
    panel = three_cases
    want_steps(panel, 6)
    panel.run.estimate()
    wait_until(lambda: not panel.run.estimating, 200)
    assert "steps of" in panel.state.train_estimate, panel.state.notices


def test_the_command_that_does_the_same_is_shown(three_cases):
    panel = three_cases
    want_steps(panel, 6)
    panel.run.show_command()
    assert panel.state.train_command.startswith("hlfd finetune tiny/1.0.0 --data ")
    assert "--steps 6" in panel.state.train_command


def test_a_correction_is_offered_as_the_next_case(panel, project, context):
    from HLFDSegmentLib.segmentations import segmentation_from_label_map
    from HLFDSegmentLib.volumes import volume_to_node
    from Testing.tiny_training import draw_case

    volume, labels = draw_case(0)
    node = volume_to_node(panel.scene, volume, "scan")
    panel.offer(node, segmentation_from_label_map(panel.scene, labels, node, name="corrected"))
    assert panel.state.train_add_source == "scan + corrected"
    assert panel.state.train_add_ready
    assert "add" in panel.state.train_sections


def test_curves_are_drawn_with_their_names():
    from hlfd_web.charts import Line, line_chart

    svg = line_chart("Loss", [Line("a <b>", ((0.0, 1.0), (1.0, float("nan")), (2.0, 0.5)), "#123456")])
    assert svg.count("M") == 2  # the gap
    assert "a &lt;b&gt;" in svg
    assert line_chart("Loss", [Line("a", ((0.0, float("nan")),), "#123456")]) == ""
    assert np.isfinite([float(part) for part in svg.split('viewBox="')[1].split('"')[0].split()]).all()
