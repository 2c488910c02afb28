"""Teachers from builders and packages, and how any teacher is made to fit a student."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from hlfd.distillation import DistillSettings, build_objective
from hlfd.errors import ConfigError, GeometryError, MissingDependencyError, ModelError
from hlfd.features import FeatureTap
from hlfd.models.build import load_network
from hlfd.networks import build_network
from hlfd.preprocess.intensity import window_channels
from hlfd.teachers import ChannelInput, Teacher, TeacherSettings, fit_teacher, load_teacher, read_settings
from hlfd.teachers.axes import AxisPlan

WINDOWS = ((-200.0, 300.0), (-1000.0, 1000.0))
CLASSES = ("background", "kidney", "tumor", "cyst")
BUILDER = "hlfd.networks:build_network"
FACTS = {"classes": CLASSES, "spacing_mm": 1.5, "windows": [[-200, 300]]}


def net(channels: int = 1, classes: int = 4) -> nn.Sequential:
    """A network of none of our classes, with two stages and kernels that tell the axes apart."""
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Sequential(nn.Conv3d(channels, 6, 3, padding=1), nn.ReLU()),
        nn.Sequential(nn.Conv3d(6, 8, (1, 3, 5), padding=(0, 1, 2)), nn.ReLU()),
        nn.Conv3d(8, classes, 1),
    )


def spec(**more) -> TeacherSettings:
    return TeacherSettings(f"{__name__}:net", **{"kind": "builder", **FACTS, "taps": {"e1": "0", "e2": "1"}, **more})


class TestBuilders:
    def test_a_builder_gives_a_frozen_teacher_with_the_stated_facts(self):
        teacher = load_teacher(spec(licence="CC0-1.0"))
        assert (teacher.in_channels, teacher.spatial_dims, teacher.classes) == (1, 3, CLASSES)
        assert (teacher.spacing_mm, teacher.licence) == ((1.5,) * 3, "CC0-1.0")
        assert not teacher.module.training
        assert not any(parameter.requires_grad for parameter in teacher.module.parameters())

    def test_a_network_of_the_project_brings_its_own_taps(self):
        parameters = {"name": "s2d_unet", "in_channels": 2, "classes": 4, "widths": (4, 8)}
        teacher = load_teacher(TeacherSettings(BUILDER, parameters=parameters, classes=CLASSES))
        assert teacher.taps["e2"] == "encoder.0"
        assert (teacher.in_channels, teacher.divisor) == (2, 4)

    def test_weights_are_loaded_into_what_the_builder_makes(self, tmp_path):
        torch.manual_seed(5)
        other = net()
        torch.manual_seed(6)
        nn.init.normal_(other[2].bias)
        torch.save({"state_dict": {f"module.{k}": v for k, v in other.state_dict().items()}}, tmp_path / "w.pt")
        teacher = load_teacher(spec(weights=str(tmp_path / "w.pt")))
        assert torch.equal(teacher.module[2].bias, other[2].bias)

    @pytest.mark.parametrize(
        ("source", "error", "message"),
        [
            ("no_such_package.module:net", MissingDependencyError, "no_such_package.*Install"),
            ("hlfd.networks:no_such", ConfigError, "has no"),
            ("hlfd.networks:TAP_NAMES", ConfigError, "cannot be called"),
            ("builtins:dict", ConfigError, "torch.nn.Module was expected"),
        ],
    )
    def test_builders_that_cannot_be_are_named(self, source, error, message):
        with pytest.raises(error, match=message):
            load_teacher(source)

    def test_parameters_that_do_not_fit_are_named(self):
        with pytest.raises(ConfigError, match="cannot take its parameters"):
            load_teacher(TeacherSettings(f"{__name__}:net", parameters={"depth": 3}))

    def test_a_wrong_tap_names_the_modules_there_are(self):
        with pytest.raises(ConfigError, match=r'Tap "e1": .* has no module "0.7".*such as'):
            load_teacher(spec(taps={"e1": "0.7"}))
        with pytest.raises(ConfigError, match='Unknown tap "e9"'):
            load_teacher(spec(taps={"e9": "0"}))


class TestPackages:
    def test_the_shipped_package_is_a_teacher(self):
        teacher = load_teacher("kidney")
        assert teacher.classes == CLASSES
        assert teacher.spacing_mm == (1.5,) * 3
        assert teacher.licence == "CC-BY-NC-SA-4.0"

    def test_a_package_fitted_to_its_own_facts_gives_its_own_logits(self, random_package):
        entry = random_package.refiner
        network = load_network(entry)
        torch.manual_seed(0)
        image = torch.rand(1, 2, 8, 12, 16) * 2 - 1
        inputs = tuple(ChannelInput.of_window(window) for window in entry.windows)
        teacher = Teacher(network, dict(network.taps), 2, 3, entry.classes, (4.0,) * 3, inputs=inputs, divisor=4)
        fitted = fit_teacher(teacher, entry.classes, entry.windows, 4.0)
        assert torch.equal(fitted(image), network(image))

    def test_a_role_that_the_package_lacks_is_named(self):
        with pytest.raises(ModelError, match=r"has no teacher.*refiner, locator"):
            load_teacher(TeacherSettings("liver", role="teacher"))

    def test_sources_that_are_nothing_are_named(self, tmp_path):
        (tmp_path / "notes.txt").write_text("no teacher")
        with pytest.raises(ModelError, match=r"holds neither model.json .* configs"):
            load_teacher(tmp_path)
        with pytest.raises(ModelError, match=r"suffix is none of .ts"):
            load_teacher(tmp_path / "notes.txt")
        with pytest.raises(ModelError, match="does not exist"):
            load_teacher(tmp_path / "teacher.ts")
        with pytest.raises(ModelError, match='There is no model "no-such-model"'):
            load_teacher("no-such-model")
        with pytest.raises(ConfigError, match="names no teacher"):
            load_teacher("what is this?")


class TestSettings:
    @pytest.mark.parametrize(
        ("values", "message"),
        [
            ({"source": "kidney", "kind": "tourchscript"}, 'Did you mean "torchscript"'),
            ({"source": "kidney", "tap": {}}, 'Did you mean "taps"'),
            ({"source": ""}, "no source"),
            ({"kind": "bundle"}, "no source"),
            ({"source": "kidney", "spacing_mm": [0, 1, 1]}, "positive numbers"),
            ({"source": "kidney", "windows": [[300, -200]]}, r"pair \(low, high\)"),
            ({"source": "kidney", "window_range": [1, 1]}, "two different numbers"),
        ],
    )
    def test_wrong_settings_are_named(self, values, message):
        with pytest.raises(ConfigError, match=message):
            read_settings(values)

    def test_facts_that_contradict_the_network_are_named(self):
        with pytest.raises(ConfigError, match="1 input channels, but 2 windows"):
            load_teacher(spec(windows=WINDOWS))
        with pytest.raises(ConfigError, match="has 2 numbers"):
            load_teacher(spec(spacing_mm=(1.0, 2.0)))
        with pytest.raises(ConfigError, match="orientation"):
            load_teacher(spec(orientation="RRS"))


class TestInputs:
    def test_a_teachers_input_made_from_the_students_equals_the_one_made_of_hu(self):
        hu = torch.linspace(-1200, 1200, 64).reshape(4, 4, 4).numpy()
        image = torch.from_numpy(window_channels(hu, WINDOWS))
        teacher = load_teacher(spec(windows=[[-160, 240]], window_range=[0, 1]))
        seen = []
        teacher.module.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
        fit_teacher(teacher, CLASSES, WINDOWS, 1.5)(image)
        wanted = (torch.from_numpy(hu).clamp(-160, 240) + 160) / 400
        torch.testing.assert_close(seen[0][0, 0], wanted, atol=1e-6, rtol=0)

    def test_a_window_that_the_student_cuts_off_is_refused(self):
        teacher = load_teacher(spec(windows=[[-500, 1500]]))
        with pytest.raises(ConfigError, match=r"sees -500..1500 HU, which no window of the student .*\[-500, 1500\]"):
            fit_teacher(teacher, CLASSES, WINDOWS, 1.5)


class TestFit:
    def test_other_spacing_is_refused_or_resampled(self):
        with pytest.raises(ConfigError, match=r"works at 0.75 x 0.75 x 0.75 mm, the student at 1.5 .*resample: true"):
            fit_teacher(load_teacher(spec(spacing_mm=0.75)), CLASSES, WINDOWS, 1.5)
        fitted = fit_teacher(load_teacher(spec(spacing_mm=0.75, resample=True)), CLASSES, WINDOWS, 1.5)
        with FeatureTap(fitted, {"e1": fitted.taps["e1"]}) as features:
            assert fitted(torch.zeros(1, 2, 8, 8, 8)).shape == (1, 4, 8, 8, 8)
        assert features["e1"].shape == (1, 6, 16, 16, 16)

    def test_classes_are_reordered_by_name(self):
        teacher = load_teacher(spec(classes=("background", "tumor", "kidney", "cyst")))
        image = torch.rand(1, 2, 8, 8, 8)
        other = fit_teacher(teacher, CLASSES, WINDOWS, 1.5)(image)
        same = fit_teacher(load_teacher(spec()), CLASSES, WINDOWS, 1.5)(image)
        assert torch.equal(other, same[:, [0, 2, 1, 3]])

    def test_classes_are_merged_where_the_settings_say_so(self):
        teacher = load_teacher(spec(merge={"mass": ["tumor", "cyst"]}))
        image = torch.rand(1, 2, 8, 8, 8)
        merged = fit_teacher(teacher, ("background", "kidney", "mass"), WINDOWS, 1.5)(image)
        single = fit_teacher(load_teacher(spec()), CLASSES, WINDOWS, 1.5)(image)
        torch.testing.assert_close(merged[:, 2], torch.logsumexp(single[:, 2:], 1), atol=1e-5, rtol=0)
        assert torch.equal(merged[:, :2], single[:, :2])

    @pytest.mark.parametrize(
        ("stated", "student", "message"),
        [
            ({}, ("background", "kidney"), r"'tumor', 'cyst'\] of the teacher have none.*State under merge"),
            ({}, (*CLASSES, "vein"), r"\['vein'\] of the student have no counterpart"),
            ({"merge": {"mass": ["tumour"]}}, ("background", "kidney", "mass"), r"merge names \['tumour'\]"),
            ({"merge": {"kidney": ["kidney", "tumor"]}}, CLASSES, "exactly one"),
            ({"classes": ()}, CLASSES, "classes of the teacher .* not known"),
            ({"spacing_mm": ()}, CLASSES, "spacing_mm of the teacher .* not known"),
            ({"windows": ()}, CLASSES, "windows of the teacher .* not known"),
        ],
    )
    def test_classes_and_facts_that_do_not_fit_are_refused(self, stated, student, message):
        with pytest.raises(ConfigError, match=message):
            fit_teacher(load_teacher(spec(**stated)), student, WINDOWS, 1.5)

    def test_a_teacher_of_another_dimension_is_refused(self):
        with pytest.raises(ConfigError, match="3-D, the student 2-D"):
            fit_teacher(load_teacher(spec()), CLASSES, WINDOWS, 1.5, spatial_dims=2)

    def test_logits_that_are_not_the_stated_classes_are_refused_at_the_first_pass(self):
        fitted = fit_teacher(load_teacher(spec(classes=CLASSES[:3])), CLASSES[:3], WINDOWS, 1.5)
        with pytest.raises(GeometryError, match=r"returned logits of shape \(1, 4, 8, 8, 8\)"):
            fitted(torch.zeros(1, 2, 8, 8, 8))

    def test_other_axes_give_the_same_logits_and_taps_along_the_students_axes(self):
        image = torch.rand(1, 2, 6, 8, 10)
        plan = AxisPlan.of("RAS", 3)
        teacher = load_teacher(spec(orientation="RAS"))
        fitted = fit_teacher(teacher, CLASSES, WINDOWS, 1.5)
        with FeatureTap(fitted, {"e2": fitted.taps["e2"]}) as features:
            logits = fitted(image)
        own = image[:, :1].permute(0, 1, 4, 3, 2)  # MONAI's (i, j, k)
        assert torch.equal(logits, teacher.module(own).permute(0, 1, 4, 3, 2))
        assert torch.equal(features["e2"], teacher.module[:2](own).permute(0, 1, 4, 3, 2))
        assert torch.equal(plan.forward(image), image.permute(0, 1, 4, 3, 2))

    @pytest.mark.parametrize("orientation", ["SAR", "RAS", "LPS", "SPL", "PIR", "ILA"])
    def test_axes_go_there_and_back(self, orientation):
        image = torch.rand(1, 1, 2, 3, 4)
        plan = AxisPlan.of(orientation, 3)
        assert torch.equal(plan.back(plan.forward(image)), image)
        sizes = dict(zip("SAR", image.shape[2:]))
        sizes |= {"I": sizes["S"], "P": sizes["A"], "L": sizes["R"]}
        assert plan.forward(image).shape[2:] == tuple(sizes[letter] for letter in orientation)
        assert plan.along_student([sizes[letter] for letter in orientation]) == (2, 3, 4)

    def test_spacing_follows_the_teachers_axes(self):
        teacher = load_teacher(spec(orientation="RAS", spacing_mm=(0.8, 0.9, 3.0)))
        fitted = fit_teacher(teacher, CLASSES, WINDOWS, (3.0, 0.9, 0.8))
        assert fitted(torch.zeros(1, 2, 4, 8, 6)).shape == (1, 4, 4, 8, 6)
        with pytest.raises(ConfigError, match=r"works at 3 x 0.9 x 0.8 mm"):
            fit_teacher(teacher, CLASSES, WINDOWS, (0.8, 0.9, 3.0))

    def test_a_fitted_teacher_stays_in_eval_mode(self):
        fitted = fit_teacher(load_teacher(spec()), CLASSES, WINDOWS, 1.5).train()
        assert not any(module.training for module in fitted.modules())

    def test_a_student_learns_from_a_fitted_teacher(self):
        student = build_network("s2d_unet", in_channels=2, classes=4, widths=(4, 8))
        fitted = fit_teacher(load_teacher(spec()), CLASSES, WINDOWS, 1.5)
        objective = build_objective(DistillSettings(methods=("kd",)), student, fitted)
        batch = {"image": torch.rand(2, 2, 8, 8, 8), "label": torch.zeros(2, 8, 8, 8, dtype=torch.long)}
        _, terms = objective(student, batch)
        sum(terms.values()).backward()
        assert [name.partition("/")[0] for name in terms] == ["segmentation", "kd"]
        assert all(parameter.grad is None for parameter in fitted.parameters())
        assert student.head.weight.grad is not None
