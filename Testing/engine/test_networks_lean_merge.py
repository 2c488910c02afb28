import pytest

torch = pytest.importorskip("torch")

from hlfd.errors import ConfigError  # noqa: E402
from hlfd.networks import MergeClasses, build_network, fold_batchnorm  # noqa: E402
from hlfd.networks.lean_merge import LeanMerge  # noqa: E402

GROUPS = [[0, 3, 4], [1], [2, 5]]


@pytest.fixture(scope="module")
def merged():
    torch.manual_seed(0)
    return fold_batchnorm(MergeClasses(build_network("s2d_unet", classes=6, widths=(4, 6)), GROUPS).eval())


@pytest.fixture(scope="module")
def image():
    return torch.randn(1, 1, 8, 12, 16, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("sigmoid", [True, False])
def test_merging_before_the_head_equals_merging_after_it(merged, image, sigmoid):
    torch.testing.assert_close(LeanMerge(merged, sigmoid)(image), merged(image), atol=1e-5, rtol=1e-5)


def test_onnxruntime_gives_the_same_logits(merged, image, tmp_path):
    runtime = pytest.importorskip("onnxruntime")
    from hlfd.networks import export_onnx

    path = export_onnx(LeanMerge(merged, sigmoid=False).eval(), tmp_path / "lean.onnx")
    session = runtime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    found = torch.from_numpy(session.run(None, {"image": image.numpy()})[0])
    torch.testing.assert_close(found, merged(image), atol=1e-4, rtol=1e-4)


def test_large_logits_stay_finite(merged, image):
    assert torch.isfinite(LeanMerge(merged)(1e4 * image)).all()


def test_the_merged_network_is_left_as_it_was(merged, image):
    before = merged(image)
    LeanMerge(merged)
    torch.testing.assert_close(merged(image), before)


def test_other_networks_are_refused():
    other = MergeClasses(build_network("segresnet", classes=3, init_filters=8), [[0, 1], [2]])
    with pytest.raises(ConfigError, match="s2d_unet"):
        LeanMerge(other)


def test_export_gives_the_same_logits(merged, image, tmp_path):
    pytest.importorskip("openvino")
    from hlfd.inference.backends import OpenvinoBackend
    from hlfd.networks import export_openvino

    lean = LeanMerge(merged).eval()
    backend = OpenvinoBackend(export_openvino(lean, tmp_path / "lean.xml", half=False), 1)
    torch.testing.assert_close(torch.from_numpy(backend.infer(image.numpy())), lean(image)[0], atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("half", [False, True])
def test_openvino_moves_the_merged_channels_itself_and_every_bit_stays(merged, image, tmp_path, half):
    pytest.importorskip("openvino")
    from hlfd.inference.backends import openvino_core
    from hlfd.inference.openvino_graph import move_channels
    from hlfd.networks import export_openvino

    path = export_openvino(LeanMerge(merged).eval(), tmp_path / "lean.xml", half=half)
    before, after = (openvino_core().read_model(str(path)) for _ in range(2))
    assert move_channels(after) == 1
    assert move_channels(after) == 0
    kinds = [node.get_type_name() for node in after.get_ops()]
    assert kinds.count("DepthToSpace") == 1
    assert kinds.count("ConvolutionBackpropData") == 1  # that of the decoder learned its weights and stays
    exact = {"INFERENCE_PRECISION_HINT": "f32"}
    old, new = (openvino_core().compile_model(model, "CPU", exact)({0: image.numpy()})[0] for model in (before, after))
    assert old.shape == new.shape == (1, 3, 8, 12, 16)
    assert (old == new).all()


def test_a_learned_transposed_convolution_stays(merged, tmp_path):
    pytest.importorskip("openvino")
    from hlfd.inference.backends import openvino_core
    from hlfd.inference.openvino_graph import move_channels
    from hlfd.networks import export_openvino

    path = export_openvino(merged.network, tmp_path / "plain.xml", half=False)
    assert move_channels(openvino_core().read_model(str(path))) == 0
