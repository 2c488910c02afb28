"""Export of networks to OpenVINO IR and ONNX, with free batch and spatial sizes."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from hlfd.errors import MissingDependencyError
from hlfd.networks.base import NetworkDescription, SegmentationNetwork


def _description(module: nn.Module) -> NetworkDescription:
    if not isinstance(module, SegmentationNetwork):
        raise TypeError(f"{type(module).__name__} is not a SegmentationNetwork; build it with build_network.")
    return module.description


def _example(facts: NetworkDescription) -> Tensor:
    # Different sizes per axis, so that no exporter takes two axes for the same.
    sizes = [facts.divisor * (2 + axis % 2) for axis in range(facts.spatial_dims)]
    return torch.zeros(1, facts.in_channels, *sizes)


def export_openvino(module: nn.Module, path: Path, half: bool = True) -> Path:
    """Write ``path`` (.xml) and the .bin beside it as OpenVINO IR; input ``image``, output ``logits``.

    Batch and spatial sizes stay free. ``half`` stores the weights in float16; they are computed with in float32.
    Fold batch norm first (``fold_batchnorm``). Raises ``MissingDependencyError`` without openvino.
    """
    try:
        import openvino
    except ImportError as error:
        raise MissingDependencyError("OpenVINO is not installed.", "Install hlfd[cpu].") from error
    facts = _description(module)
    free = openvino.PartialShape([-1, facts.in_channels] + [-1] * facts.spatial_dims)
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # the tracer warns of shape arithmetic that stays exact here
        # Traced here, because OpenVINO's own call runs the tracer's check too, which takes as long as the rest.
        traced = torch.jit.trace(module.eval().float().cpu(), _example(facts), check_trace=False)
        model: Any = openvino.convert_model(traced, input=[("image", free)])
    model.outputs[0].get_tensor().set_names({"logits"})
    target = Path(path).with_suffix(".xml")
    openvino.save_model(model, str(target), compress_to_fp16=half)
    return target


def export_onnx(module: nn.Module, path: Path, opset: int = 17) -> Path:
    """Write ``path`` as ONNX with input ``image`` and output ``logits``; batch and spatial sizes stay free."""
    try:
        import onnx  # noqa: F401
    except ImportError as error:
        raise MissingDependencyError("onnx is not installed.", "Install hlfd[train].") from error
    facts = _description(module)
    axes = {0: "batch"} | {2 + axis: f"size{axis}" for axis in range(facts.spatial_dims)}
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            module.eval().float().cpu(),
            (_example(facts),),
            str(path),
            input_names=["image"],
            output_names=["logits"],
            dynamic_axes={"image": axes, "logits": axes},
            opset_version=opset,
            dynamo=False,
        )
    return Path(path)
