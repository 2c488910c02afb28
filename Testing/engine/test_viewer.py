"""The feature viewer's engine: every map lies where its voxels look, and every number is what NumPy gives."""

from __future__ import annotations

import numpy as np
import pytest

from hlfd.config import SegmentSettings
from hlfd.errors import ConfigError, EmptyInputError, HlfdError
from hlfd.events import CancelToken, Progress
from hlfd.models.package import file_sha256, load_package
from hlfd.preprocess.frame import make_frame
from hlfd.preprocess.grid import Box, grid_over
from hlfd.preprocess.intensity import window_channels
from hlfd.preprocess.orientation import canonical
from hlfd.viewer import GLANCE, FeatureRequest, Pair, default_pairs, grid_affine, stage_affine
from hlfd.viewer.region import name_regions, part_of, working_grid
from hlfd.volume import Volume
from hlfd.worker.context import JobContext
from Testing.viewer_package import SPACING, WINDOWS, write_viewer_package

torch = pytest.importorskip("torch")
from hlfd.features import FeatureTap  # noqa: E402
from hlfd.models.build import load_network  # noqa: E402
from hlfd.training.finetune_report import write_version  # noqa: E402
from hlfd.viewer.networks import load_networks  # noqa: E402
from hlfd.viewer.part import densest  # noqa: E402
from hlfd.worker import job_features  # noqa: E402

BOX = {"mode": "box", "device": "cpu", "threads": 1}


@pytest.fixture(scope="module")
def package(tmp_path_factory):
    return write_viewer_package(tmp_path_factory.mktemp("viewed"))


def oblique(volume: Volume, degrees: float = 0.0, flips: tuple[int, ...] = ()) -> Volume:
    """Return the volume stored along other axes, and turned about the superior axis."""
    array, affine = volume.array, volume.affine.copy()
    for axis in flips:
        affine[:3, 3] += affine[:3, axis] * (array.shape[2 - axis] - 1)
        affine[:3, axis] *= -1
        array = np.flip(array, 2 - axis)
    turn, angle = np.eye(4), np.radians(degrees)
    turn[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    return Volume(np.ascontiguousarray(array), turn @ affine, volume.name)


def look(package, volume, tmp_path, request=None, settings=None, **context):
    """Run the job in this process and return its answer and arrays."""
    arguments = {
        "settings": {**BOX, "model": str(package.folder), **(settings or {})},
        "affine": volume.affine.tolist(),
    }
    job = JobContext(tmp_path, {**arguments, "request": request or {}}, {"volume": volume.array}, **context)
    answer = job_features.run(job)
    return answer, {path.stem[4:]: np.load(path) for path in tmp_path.glob("out-*.npy")}


@pytest.fixture(scope="module")
def seen(package, patient, tmp_path_factory):
    return look(package, patient[0], tmp_path_factory.mktemp("job"))


class TestPlaces:
    @pytest.mark.parametrize("degrees", [0.0, 25.0])
    @pytest.mark.parametrize("flips", [(), (0, 1), (2,)])
    @pytest.mark.parametrize("name", ["s2d_unet", "dynunet_small"])
    def test_a_ramp_through_strided_stages_comes_out_within_half_a_voxel_of_each_stride(self, name, flips, degrees):
        """The image holds its own R, A or S in mm; stages that average keep it, and so tell where their voxels are."""
        index = np.indices((40, 48, 44)).astype(np.float64)
        plain = Volume(np.zeros((40, 48, 44), np.int16), np.diag([1.5, 1.25, 2.0, 1.0]), "ramp")
        volume = oblique(plain, degrees, flips)
        frame = make_frame(canonical(volume))
        middle = np.add(frame.box.low, frame.box.high) / 2
        grid = grid_over(Box(tuple(middle - 20), tuple(middle + 20)), 0.6, 16)
        affine = grid_affine(frame, grid)
        for axis in range(3):
            world = np.einsum("a,akji->kji", volume.affine[axis, :3], index[::-1]) + volume.affine[axis, 3]
            ramp = frame_of(volume, world * 20).sample(grid) / 20  # whole HU are kept, so in twentieths of mm
            for feature, stride in averaged_stages(name, ramp):
                place = stage_affine(affine, grid.shape, feature.shape)
                k, j, i = np.indices(feature.shape)
                expected = place[axis, 0] * i + place[axis, 1] * j + place[axis, 2] * k + place[axis, 3]
                inner = tuple(slice(n // 4, n - n // 4) for n in feature.shape)  # away from padding
                error = np.abs(feature - expected)[inner].max() / (stride * 0.6)
                assert error <= (0.04 if name == "s2d_unet" else 0.5), (stride, error)

    def test_the_working_grid_is_where_the_segmenter_samples(self, patient):
        volume = oblique(patient[0], 20.0, (0, 2))
        frame = make_frame(canonical(volume))
        grid = grid_over(Box((20.0, -30.0, -40.0), (60.0, 40.0, 30.0)), 2.0, 8)
        affine = grid_affine(frame, grid)
        for index in ((0, 0, 0), (3, 7, 2), tuple(n - 1 for n in grid.shape)):
            frame_point = tuple(o + s * n for o, s, n in zip(grid.start, grid.spacing, index))
            np.testing.assert_allclose((affine @ [*index[::-1], 1.0])[:3], frame.to_ras(frame_point), atol=1e-9)

    def test_a_region_that_is_too_large_is_cut_around_its_middle(self):
        box = Box((0.0, 0.0, 0.0), (150.0, 150.0, 300.0))
        grid, cut = working_grid(box, 1.5, 16, 800_000)
        assert cut
        assert np.prod(grid.shape) <= 800_000
        assert all(n % 16 == 0 for n in grid.shape)
        middle = [(a + b) / 2 for a, b in zip(grid.box().low, grid.box().high)]
        np.testing.assert_allclose(middle, [75, 75, 150], atol=16 * 1.5)

    def test_regions_are_named_by_the_side_of_the_patient(self):
        left, right = Box((0, 0, 0), (1, 1, 50)), Box((0, 0, 150), (1, 1, 200))
        assert [r.name for r in name_regions([left, right], 100.0, "kidney", True)] == ["left kidney", "right kidney"]
        assert name_regions([Box((0, 0, 0), (1, 1, 200))], 100.0, "kidney", True)[0].name == "both kidneys"
        assert name_regions([left], 100.0, "liver", False)[0].name == "liver"


def frame_of(volume: Volume, values: np.ndarray):
    return make_frame(canonical(Volume(values.astype(np.float32), volume.affine, "ramp")))


def averaged_stages(name: str, image: np.ndarray):
    """Yield (features, stride) of each encoder stage of a network whose convolutions are means, without the rest."""
    from hlfd.networks import build_network

    network = build_network(name, in_channels=1, classes=2, widths=(1, 1, 1)).eval()
    for module in network.modules():
        if isinstance(module, torch.nn.Conv3d):
            torch.nn.init.constant_(module.weight, 1 / module.weight[0].numel())
            if module.bias is not None:
                torch.nn.init.zeros_(module.bias)
        for child, layer in list(module.named_children()):
            if not isinstance(layer, (torch.nn.Conv3d, torch.nn.ConvTranspose3d)) and not list(layer.children()):
                setattr(module, child, torch.nn.Identity())  # norms and activations
    paths = {tap: network.taps[tap] for tap in ("e1", "e2", "e3")}
    with torch.no_grad(), FeatureTap(network, paths) as features:
        network(torch.from_numpy(image)[None, None].float())
    for feature in features.values():
        yield feature[0, 0].numpy(), image.shape[0] // feature.shape[2]


class TestParts:
    def test_a_part_is_a_cube_of_whole_blocks_inside_the_grid(self):
        grid = grid_over(Box((0.0, 0.0, 0.0), (96.0, 60.0, 30.0)), 1.0, 2)
        assert part_of(grid, (48, 30, 15), 32.0, 8) == ((32, 16, 0), (64, 48, 30))
        assert part_of(grid, (0, 59, 15), 32.0, 8) == ((0, 28, 0), (32, 60, 30))
        assert part_of(grid, (48, 30, 15), 1.0, 8)[1][0] - part_of(grid, (48, 30, 15), 1.0, 8)[0][0] == 16

    def test_the_focus_is_where_most_of_the_tumor_is(self):
        mask = torch.zeros(96, 96, 96, dtype=torch.bool)
        mask[10:14, 10:14, 10:14] = True
        mask[70:80, 60:70, 80:90] = True
        assert densest(mask) == pytest.approx((74.5, 64.5, 84.5))
        rim = torch.zeros(33, 33, 33, dtype=torch.bool)
        rim[32, 32, 32] = True
        assert densest(rim) == pytest.approx((32, 32, 32))

    def test_a_part_shows_the_same_place_as_the_whole(self, package, patient, seen, tmp_path):
        """The first layer of the student looks at few voxels, so inside the part it is what it is in the whole."""
        whole, arrays = seen
        focus = np.add(whole["focus"], [4.0, -8.0, 4.0])
        request = {"pairs": ["e1"], "part_mm": 64.0, "around": focus.tolist(), "evidence": False}
        answer, part = look(package, patient[0], tmp_path, request)
        assert answer["part"] is not None
        assert max(answer["shape"]) == 16
        layers = [entry["pairs"][0]["layers"]["student"] for entry in (answer, whole)]
        one, other = (np.array(layer["affine"]) for layer in layers)
        start = np.linalg.inv(other) @ one[:, 3]
        np.testing.assert_allclose(start[:3], np.rint(start[:3]), atol=1e-6)
        i, j, k = np.rint(start[:3]).astype(int)
        a, b = part["e1-student-channels"], arrays["e1-student-channels"]
        b = b[:, k : k + a.shape[1], j : j + a.shape[2], i : i + a.shape[3]]
        alive = int(a.astype(np.float32).std((1, 2, 3)).argmax())
        assert np.corrcoef(a[alive].ravel(), b[alive].ravel())[0, 1] == pytest.approx(1, abs=1e-3)
        low, high = np.array(answer["part"]["low"]), np.array(answer["part"]["high"])
        assert (low <= focus).all()
        assert (focus <= high).all()

    def test_a_glance_is_one_pair_without_evidence_and_its_numbers_are_nearly_those_of_full_precision(
        self, package, patient, tmp_path
    ):
        (tmp_path / "rest").mkdir()
        glance, arrays = look(package, patient[0], tmp_path, {**GLANCE, "part_mm": 64.0})
        assert [pair["name"] for pair in glance["pairs"]] == ["d2"]
        assert not any("evidence" in name for name in arrays)
        same = {"region": glance["region"], "around": glance["around"], "part_mm": 64.0, "pairs": ["d2"]}
        full, _ = look(package, patient[0], tmp_path / "rest", same)
        np.testing.assert_allclose(full["affine"], glance["affine"])
        for role, layer in full["pairs"][0]["layers"].items():
            assert glance["pairs"][0]["layers"][role]["numbers"] == pytest.approx(layer["numbers"], abs=0.02)

    def test_a_position_outside_of_what_was_found_is_said(self, package, patient, tmp_path):
        request = {"pairs": ["e1"], "around": [0.0, 0.0, 5000.0], "part_mm": 64.0, "evidence": False}
        answer, _ = look(package, patient[0], tmp_path, request)
        assert any("lies outside" in warning for warning in answer["warnings"])

    @pytest.mark.parametrize("name", ["s2d_unet", "dynunet_small", "segresnet"])
    def test_a_pass_that_ends_at_the_last_tap_gives_the_features_of_a_whole_one(self, name):
        from hlfd.networks import build_network
        from hlfd.viewer.networks import Viewed

        torch.manual_seed(0)
        widths = {} if name == "segresnet" else {"widths": (4, 8, 8)}
        network = build_network(name, in_channels=1, classes=3, **widths).eval().requires_grad_(False)
        image = torch.randn(1, 1, 32, 32, 32)
        viewed = Viewed("teacher", name, network, dict(network.taps))
        with torch.no_grad(), FeatureTap(network, network.taps) as whole:
            network(image)
        for tap in network.taps:
            short = viewed.look(image, (tap,), None)
            torch.testing.assert_close(short.features[tap], whole[tap][0])
        assert not any(module._forward_hooks for module in network.modules())


class Numpy:
    """The viewer's numbers from their formulas, from features tapped by this test."""

    def __init__(self, package, answer, volume):
        shape, affine = answer["shape"], np.array(answer["affine"])
        frame = make_frame(canonical(volume))
        grid = grid_over(Box((0, 0, 0), tuple(SPACING * n for n in shape)), SPACING)
        start = affine[:3, 3] - np.array(frame.to_ras((0.0, 0.0, 0.0)))
        grid = type(grid)(tuple(start[::-1]), grid.spacing, tuple(shape))
        image = torch.from_numpy(window_channels(frame.sample(grid), WINDOWS))
        self.features, self.labels = {}, None
        for role, entry in (
            ("teacher", package.teacher),
            ("student", package.refiner),
            ("undistilled", package.undistilled),
        ):
            network = load_network(entry)
            with torch.no_grad(), FeatureTap(network, network.taps) as found:
                logits = network(image)[0].numpy()
            self.features[role] = {name: feature[0].numpy().astype(np.float64) for name, feature in found.items()}
            if role == "student":
                self.labels = logits.argmax(0)
        self.masks = {"tumor": self.labels == 2, "kidney": np.isin(self.labels, (1, 3)), "background": self.labels == 0}

    @staticmethod
    def blocks(array, size):
        """Return block means of (..., k, j, i)."""
        k, j, i = (n // m for n, m in zip(array.shape[-3:], size))
        parts = array.reshape(*array.shape[:-3], size[0], k, size[1], j, size[2], i)
        return parts.mean((-1, -3, -5))

    def attention(self, role, tap):
        return (np.abs(self.features[role][tap]) ** 4).mean(0)

    def cosine(self, tap, role):
        a, b = self.attention("teacher", tap), self.attention(role, tap)
        size = np.minimum(a.shape, b.shape)
        a, b = self.blocks(a, size).ravel(), self.blocks(b, size).ravel()
        return a @ b / np.linalg.norm(a) / np.linalg.norm(b)

    def cka(self, tap, role):
        a, b = self.features["teacher"][tap], self.features[role][tap]
        size = np.minimum(a.shape[1:], b.shape[1:])
        x, y = (self.blocks(part, size).reshape(len(part), -1).T for part in (a, b))
        x, y = x - x.mean(0), y - y.mean(0)
        return np.linalg.norm(y.T @ x) ** 2 / np.linalg.norm(x.T @ x) / np.linalg.norm(y.T @ y)

    def share(self, role, tap, group):
        attention = self.attention(role, tap)
        weights = self.blocks(self.masks[group].astype(float), attention.shape)
        return (attention * weights).sum() / attention.sum()

    def selectivity(self, role, tap):
        flat = self.features[role][tap].reshape(len(self.features[role][tap]), -1)
        size = self.features[role][tap].shape[1:]
        values = (flat - flat.mean(1, keepdims=True)) / flat.std(1, keepdims=True).clip(1e-12)
        share = {name: self.blocks(mask.astype(float), size).ravel() for name, mask in self.masks.items()}
        mean = {name: values @ w / w.sum() for name, w in share.items()}
        return mean["tumor"] - (mean["kidney"] + mean["background"]) / 2


class TestNumbers:
    @pytest.fixture(scope="class")
    def numpy(self, package, seen, patient):
        numbers = Numpy(package, seen[0], patient[0])
        assert all(mask.any() for mask in numbers.masks.values())  # else the test would say little
        return numbers

    def test_agree_with_numpy_to_1e_4(self, numpy, seen):
        checked = 0
        for pair in seen[0]["pairs"]:
            for role, layer in pair["layers"].items():
                for group in numpy.masks:
                    assert layer["numbers"][f"share_{group}"] == pytest.approx(
                        numpy.share(role, pair["name"], group), abs=1e-4
                    )
                if role != "teacher":
                    assert layer["numbers"]["cosine"] == pytest.approx(numpy.cosine(pair["name"], role), abs=1e-4)
                    assert layer["numbers"]["cka"] == pytest.approx(numpy.cka(pair["name"], role), abs=1e-4)
                    checked += 1
        assert checked >= 6

    def test_selectivity_agrees_with_numpy(self, numpy, seen):
        for pair in seen[0]["pairs"]:
            for role, layer in pair["layers"].items():
                np.testing.assert_allclose(layer["selectivity"], numpy.selectivity(role, pair["name"]), atol=1e-4)

    def test_maps_are_what_their_formulas_say(self, numpy, seen):
        answer, arrays = seen
        for pair in answer["pairs"]:
            name = pair["name"]
            for role, layer in pair["layers"].items():
                attention = numpy.attention(role, name)
                np.testing.assert_allclose(
                    arrays[f"{name}-{role}-attention"], attention / attention.mean(), rtol=1e-3, atol=1e-4
                )
                features = numpy.features[role][name]
                assert list(features.shape) == layer["shape"]
                deviations = features.std((1, 2, 3), keepdims=True).clip(1e-12)
                values = (features - features.mean((1, 2, 3), keepdims=True)) / deviations
                np.testing.assert_allclose(arrays[f"{name}-{role}-channels"], values, atol=2e-2, rtol=2e-3)
                evidence = arrays[f"{name}-{role}-evidence"]
                assert evidence.min() >= 0
                assert evidence.max() == pytest.approx(1) or not evidence.any()
                assert arrays[f"{name}-{role}-pca"].shape == (*features.shape[1:], 3)

    def test_shares_add_up_to_one(self, seen):
        for pair in seen[0]["pairs"]:
            for layer in pair["layers"].values():
                shares = [value for name, value in layer["numbers"].items() if name.startswith("share")]
                assert sum(shares) == pytest.approx(1, abs=1e-6)

    def test_evidence_is_grad_cam_of_the_tumor_logit(self, package, seen):
        """For the last layer before linear heads the gradient is known: weights of the head, over all tumor voxels."""
        from hlfd.viewer.maps import class_evidence

        torch.manual_seed(0)
        features = torch.randn(3, 4, 5, 6, dtype=torch.float64, requires_grad=True)
        weights = torch.tensor([0.5, -1.0, 2.0], dtype=torch.float64)
        logit = torch.einsum("c,ckji->kji", weights, features)
        (gradient,) = torch.autograd.grad(logit.sum(), features)
        expected = np.maximum(np.einsum("c,ckji->kji", weights.numpy(), features.detach().numpy()), 0)
        np.testing.assert_allclose(class_evidence(features.detach(), gradient), expected / expected.max())


class TestColours:
    def test_components_are_those_of_numpy(self):
        from hlfd.viewer.maps import components

        values = np.random.default_rng(0).normal(size=(6, 400)) * np.array([5, 4, 3, 1, 1, 1])[:, None]
        scores, share = components(torch.from_numpy(values.reshape(6, 4, 10, 10)))
        centred = values - values.mean(1, keepdims=True)
        left, singular, _ = np.linalg.svd(centred, full_matrices=False)
        expected = left[:, :3].T @ centred
        expected /= expected.std(1, keepdims=True)
        cosines = np.abs((scores.reshape(3, -1).numpy() * expected).mean(1))
        np.testing.assert_allclose(cosines, 1, atol=1e-6)
        assert share == pytest.approx((singular[:3] ** 2).sum() / (singular**2).sum())

    def test_a_turned_copy_gets_the_colours_of_the_original(self):
        from hlfd.viewer.maps import components, turned

        generator = torch.Generator().manual_seed(1)
        target = components(torch.randn(5, 6, 6, 6, generator=generator, dtype=torch.float64))[0]
        rotation = torch.linalg.qr(torch.randn(3, 3, generator=generator, dtype=torch.float64))[0]
        other = torch.einsum("dc,ckji->dkji", rotation, target)
        torch.testing.assert_close(turned(other, target), target)

    def test_a_layer_of_one_channel_has_one_component(self):
        from hlfd.viewer.maps import components

        scores, share = components(torch.randn(1, 4, 4, 4, generator=torch.Generator().manual_seed(2)))
        assert share == pytest.approx(1)
        assert scores[1:].abs().max() == 0


class TestTheJob:
    def test_flipping_the_file_changes_no_number_and_moves_no_map(self, package, patient, seen, tmp_path):
        answer, arrays = look(package, oblique(patient[0], flips=(0, 1, 2)), tmp_path)
        np.testing.assert_allclose(answer["affine"], seen[0]["affine"], atol=1e-6)
        for one, other in zip(answer["pairs"], seen[0]["pairs"]):
            assert one["layers"]["student"]["numbers"] == pytest.approx(other["layers"]["student"]["numbers"])
        np.testing.assert_array_equal(arrays["e1-student-pca"], seen[1]["e1-student-pca"])

    def test_a_turned_patient_gives_maps_along_the_patients_axes(self, package, patient, tmp_path):
        answer, _ = look(package, oblique(patient[0], 20.0), tmp_path, {"pairs": ["e2"]})
        affine = np.array(answer["affine"])
        np.testing.assert_allclose(affine[:3, :3], np.diag([SPACING] * 3), atol=1e-9)

    def test_without_a_teacher_the_student_is_shown_alone(self, patient, tmp_path):
        alone = write_viewer_package(tmp_path / "models", teacher=False)
        (tmp_path / "job").mkdir()
        answer, arrays = look(alone, patient[0], tmp_path / "job")
        assert [network["role"] for network in answer["networks"]] == ["student"]
        assert "cosine" not in answer["pairs"][0]["layers"]["student"]["numbers"]
        assert not any("difference" in name for name in arrays)

    def test_a_teacher_of_another_spacing_is_resampled_into_place(self, patient, tmp_path):
        other = write_viewer_package(tmp_path / "models", teacher_spacing=6.0)
        (tmp_path / "job").mkdir()
        answer, _ = look(other, patient[0], tmp_path / "job", {"pairs": ["e1"]})
        layer = answer["pairs"][0]["layers"]["teacher"]
        corner = np.array(answer["affine"]) @ [-0.5, -0.5, -0.5, 1.0]
        np.testing.assert_allclose(np.array(layer["affine"]) @ [-0.5, -0.5, -0.5, 1.0], corner)
        assert 0 < answer["pairs"][0]["layers"]["student"]["numbers"]["cosine"] <= 1

    def test_a_teacher_from_outside_takes_the_place_of_the_packages(self, package, patient, tmp_path):
        alone = write_viewer_package(tmp_path / "models", teacher=False)
        (tmp_path / "job").mkdir()
        answer, _ = look(alone, patient[0], tmp_path / "job", {"teacher": str(package.folder), "pairs": ["e1"]})
        assert answer["networks"][0]["role"] == "teacher"
        assert answer["networks"][0]["title"].startswith("package viewed/")
        assert answer["pairs"][0]["layers"]["teacher"]["evidence"]  # its own layers have gradients

    def test_progress_ends_at_the_whole(self, package, patient, tmp_path):
        events = []
        look(package, patient[0], tmp_path, {"pairs": ["e1"]}, on_event=events.append)
        last = [event for event in events if isinstance(event, Progress)][-1]
        assert last.done == last.total

    def test_cancelling_stops_it(self, package, patient, tmp_path):
        cancel = CancelToken()
        cancel.cancel()
        with pytest.raises(HlfdError, match="ancel"):
            look(package, patient[0], tmp_path, cancel=cancel)

    def test_a_misspelt_tap_names_the_nearest(self, package, patient, tmp_path):
        with pytest.raises(ConfigError, match='Unknown tap of the teacher "e11"'):
            look(package, patient[0], tmp_path, {"pairs": ["e11"]})

    def test_a_region_that_is_not_there_is_said(self, package, patient, tmp_path):
        with pytest.raises(ConfigError, match="There is no region 7; 1 were found"):
            look(package, patient[0], tmp_path, {"region": 7})

    def test_a_job_without_a_volume_is_said(self, package, tmp_path):
        context = JobContext(tmp_path, {"settings": {**BOX}, "affine": np.eye(4).tolist()}, {})
        with pytest.raises(EmptyInputError, match="holds no volume"):
            job_features.run(context)


class TestRequests:
    def test_pairs_are_the_taps_that_all_networks_have_once(self):
        teacher = {"e1": "a", "e2": "b", "d3": "c", "d2": "c"}
        student = {"e1": "x", "d3": "y", "d2": "y", "out": "z"}
        assert [pair.name for pair in default_pairs({"teacher": teacher, "student": student})] == ["e1", "d3"]

    def test_pairs_may_join_layers_of_other_names(self):
        request = FeatureRequest.of({"pairs": [["deepest", "e5", "e3"]]})
        assert request.pairs == (Pair("deepest", "e5", "e3"),)
        assert request.pairs[0].tap("teacher") == "e5"
        assert request.pairs[0].tap("undistilled") == "e3"

    @pytest.mark.parametrize(
        ("values", "words"),
        [
            ({"regoin": 1}, 'Did you mean "region"'),
            ({"pairs": [3]}, "is no layer pair"),
            ({"pairs": ["e1", "e1"]}, "one name"),
            ({"region": -2}, "region is -2"),
            ({"max_voxels": 5}, "max_voxels is 5"),
            ({"part_mm": -1.0}, "part_mm is -1"),
            ({"around": [1.0, 2.0]}, "three numbers"),
            ({"precision": "float8"}, "float8"),
        ],
    )
    def test_say_what_is_wrong(self, values, words):
        with pytest.raises(ConfigError, match=words):
            FeatureRequest.of(values)


def test_the_networks_of_a_package_are_read_from_its_file(package):
    again = load_package(package.folder)
    assert again.undistilled is not None
    assert [viewed.role for viewed in load_networks(again)] == ["teacher", "student", "undistilled"]


def test_a_fine_tuned_model_is_seen_beside_what_it_went_on_from(tmp_path, monkeypatch):
    monkeypatch.setenv("HLFD_MODELS", str(tmp_path))
    base = write_viewer_package(tmp_path, teacher=False)
    origin = {"finetuned_from": "viewed 1.0.0", "base_sha256": file_sha256(base.folder / "model.json")}
    tuned = write_version(base, load_network(base.refiner), "1.0.0.1", tmp_path, origin)
    seen = load_networks(tuned)
    assert [(viewed.role, viewed.title) for viewed in seen] == [("student", "s2d_unet"), ("base", "viewed 1.0.0")]
    other = write_version(
        base, load_network(base.refiner), "1.0.0.2", tmp_path, {**origin, "base_sha256": "of another"}
    )
    assert [viewed.role for viewed in load_networks(other)] == ["student"]


def test_the_settings_of_the_job_are_those_of_segmenting(package):
    assert SegmentSettings(**BOX, model=str(package.folder)).mode == "box"
