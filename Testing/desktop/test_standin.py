"""The stand-in behaves as PythonQt and Slicer do, and offers nothing that Slicer lacks."""

from __future__ import annotations

import os
import re
import subprocess
import sys

import pytest

TAGS = ("v5.8.1", "v5.12.3")
QT_OWN = re.compile(r"(show|resize)Event|exec|staticMetaObject|answers|shown")  # what Qt calls, and what tests look at


def public(names) -> set[str]:
    return {name for name in names if not name.startswith("_") and not QT_OWN.fullmatch(name)}


def own_members(cls: type) -> set[str]:
    """Names that the stand-in's own class body defines, below the wrapper that pythonqt() makes."""
    return public(vars(cls.__mro__[1]))


@pytest.fixture
def sources(standin):
    from standin import sources

    return sources


class TestOffersWhatSlicerHas:
    def test_qt_has_the_listed_classes_only(self, sources):
        import qt

        assert public(vars(qt)) == set(sources.QT)

    def test_ctk_has_the_listed_widgets_and_members_only(self, sources):
        import ctk

        assert public(vars(ctk)) == set(sources.CTK)
        for name, (_path, members) in sources.CTK.items():
            assert own_members(getattr(ctk, name)) == set(members), name

    def test_the_widgets_of_slicer_have_the_listed_members_only(self, sources):
        import slicer

        for name in ("qMRMLWidget", "qMRMLNodeComboBox"):
            assert own_members(getattr(slicer, name)) <= set(sources.SLICER[name][1]), name
        widget = slicer.qSlicerScriptedLoadableModuleWidget
        assert public(vars(widget)) == set(sources.SLICER["qSlicerScriptedLoadableModuleWidget"][1])

    def test_the_application_has_the_listed_members_only(self, desktop, sources):
        import slicer

        listed = {name for members in sources.APPLICATION.values() for name in members}
        assert own_members(type(slicer.app)) == listed
        assert own_members(type(slicer.app.moduleManager())) == set(sources.MODULE_MANAGER[1])

    def test_every_added_name_of_slicer_is_listed(self, desktop, sources):
        from standin.install import PYTHON_NAMES, SLICER_NAMES

        assert set(PYTHON_NAMES) == set(sources.PYTHON) - {"validators"}
        assert {name for name in SLICER_NAMES if name.startswith("q")} == set(sources.SLICER)


def slicer_file(repository: str, tag: str, path: str) -> str:
    return subprocess.run(
        ["git", "-C", repository, "show", f"{tag}:{path}"], capture_output=True, text=True, check=True
    ).stdout


@pytest.mark.skipif("HLFD_SLICER_REPOSITORY" not in os.environ, reason="HLFD_SLICER_REPOSITORY names no Slicer clone")
@pytest.mark.parametrize("tag", TAGS)
class TestAgainstSlicersSources:
    """With HLFD_SLICER_REPOSITORY (and HLFD_CTK_REPOSITORY) naming clones, the list itself is checked."""

    def test_every_listed_name_is_in_its_file(self, sources, tag):
        repository = os.environ["HLFD_SLICER_REPOSITORY"]
        listed = [(path, [f"qt.{name}"]) for name, path in sources.QT.items()]
        listed += [*sources.SLICER.values(), *sources.APPLICATION.items(), sources.MODULE_MANAGER]
        listed += [entry for name, entry in sources.PYTHON.items()]
        absent = []
        for path, names in listed:
            text = slicer_file(repository, tag, path)
            absent += [(path, name) for name in names if not re.search(rf"\b{re.escape(name)}\b", text)]
        assert absent == []

    def test_every_listed_name_of_ctk_is_in_its_header(self, sources, tag):
        repository = os.environ.get("HLFD_CTK_REPOSITORY")
        if not repository:
            pytest.skip("HLFD_CTK_REPOSITORY names no CTK clone")
        absent = []
        for path, names in sources.CTK.values():
            text = slicer_file(repository, "HEAD", path.split(":")[1])
            absent += [(path, name) for name in names if not re.search(rf"\b{re.escape(name)}\b", text)]
        assert absent == []


class TestActsAsPythonQt:
    def test_properties_are_attributes(self, standin):
        import qt

        button = qt.QPushButton("Go")
        button.enabled = False
        button.text = "Stop"
        assert (button.text, button.enabled) == ("Stop", False)
        with pytest.raises(TypeError, match="not callable"):
            button.text()

    def test_an_attribute_that_c_plus_plus_lacks_is_refused(self, standin):
        import qt

        with pytest.raises(AttributeError, match="txet"):
            qt.QLabel().txet = "typing error"

    def test_a_signal_that_does_not_exist_is_refused(self, standin):
        import qt

        with pytest.raises(ValueError, match=r"clicked\(int\)"):
            qt.QPushButton().connect("clicked(int)", print)

    @pytest.mark.parametrize("slot", [lambda: seen.append("none"), lambda checked: seen.append(checked)])
    def test_a_slot_gets_as_many_arguments_as_it_takes(self, standin, slot):
        import qt

        seen.clear()
        button = qt.QPushButton()
        button.connect("clicked(bool)", slot)
        button.click()
        assert len(seen) == 1

    def test_a_disconnected_slot_is_not_called(self, standin):
        import qt

        seen.clear()
        button = qt.QPushButton()
        button.connect("clicked(bool)", seen.append)
        assert button.disconnect("clicked(bool)", seen.append)
        button.click()
        assert seen == []


seen: list = []


class TestNodeSelector:
    def test_without_none_the_first_node_is_chosen_at_once(self, desktop):
        selector = self.selector(noneEnabled=False)
        node = desktop.scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "CT")
        assert selector.currentNode() is node

    def test_with_none_nothing_is_chosen_until_somebody_does(self, desktop):
        selector = self.selector(noneEnabled=True)
        desktop.scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "CT")
        assert selector.currentNode() is None

    def test_a_node_that_is_removed_is_no_longer_chosen(self, desktop):
        selector = self.selector(noneEnabled=True)
        node = desktop.scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "CT")
        selector.setCurrentNode(node)
        told = []
        selector.connect("currentNodeChanged(vtkMRMLNode*)", told.append)
        desktop.scene.RemoveNode(node)
        assert selector.currentNode() is None
        assert told == [None]

    @staticmethod
    def selector(**properties):
        import slicer

        selector = slicer.qMRMLNodeComboBox()
        selector.nodeTypes = ["vtkMRMLScalarVolumeNode"]
        for name, value in properties.items():
            setattr(selector, name, value)
        selector.setMRMLScene(slicer.mrmlScene)
        return selector


def test_it_leaves_no_trace_for_other_tests(standin):
    standin.uninstall()
    try:
        import slicer

        assert not hasattr(slicer, "app")
        assert "qt" not in sys.modules
        assert "HLFDSegmentUI" not in " ".join(sys.modules)
    finally:
        standin.install()
