"""Model card and licence that lie beside an export."""

from __future__ import annotations

from typing import Any

from hlfd.models.package import ModelPackage

_HOW = {
    "bundle": """This is a [MONAI bundle](https://docs.monai.io/en/stable/mb_specification.html) of the whole pipeline.

```
pip install monai torch SimpleITK nibabel safetensors pyyaml fire
python -m monai.bundle run --config_file configs/inference.json --bundle_root . --image CT.nii.gz --output_dir out
```

Run it in this folder, or give `--config_file` and `--bundle_root` with their paths. `out/CT_seg.nii.gz` is the label
map that `hlfd segment CT.nii.gz` writes: locate at low resolution, refine each region, bring labels back to the grid
of the image, check them for plausibility. `--dataset_dir FOLDER` in place of `--image` segments every NIfTI file of a
folder. `--device cuda` and `--backend torch` or `openvino` choose where it runs; by default CUDA where there is one,
else OpenVINO where it is installed, else torch.

| folder | holds |
|---|---|
| `configs/` | `inference.json`, `metadata.json` |
| `models/` | the model package; `model.ts`, the refiner alone as TorchScript on the axes (batch, channel, i, j, k) |
| `hlfd/` | the part of HLFD that runs it, Apache-2.0 |
""",
    "onnx": """Each network is one `.onnx` file with input `image` and output `logits`; batch and spatial sizes are
free.

```python
import onnxruntime
session = onnxruntime.InferenceSession("refiner.onnx")
logits = session.run(None, {"image": image})[0]   # image: float32 (1, windows, k, j, i)
```
""",
    "openvino": """Each network is a pair of `.xml` and `.bin` with input `image` and output `logits`; batch and spatial
sizes are free. Weights are stored in half precision; compute in single precision to get the logits of torch:

```python
import openvino
network = openvino.Core().compile_model("refiner.xml", "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
logits = network(image)[0]                        # image: float32 (1, windows, k, j, i)
```
""",
}
_NETWORKS_ALONE = """These are the networks alone. Around them `hlfd segment` finds regions, tiles, and checks what was
found; `export.json` states what each takes and gives. To prepare an image: turn it so that its axes run to superior,
anterior and the patient's right, resample it to the spacing (blocks averaged where it is finer), make one channel per
window of HU with its ends at -1 and 1, clipped, and pad to a multiple of the divisor.
"""
_ADDRESSES = {
    "CC-BY-NC-SA-4.0": "https://creativecommons.org/licenses/by-nc-sa/4.0/legalcode",
    "CC-BY-SA-4.0": "https://creativecommons.org/licenses/by-sa/4.0/legalcode",
    "CC-BY-4.0": "https://creativecommons.org/licenses/by/4.0/legalcode",
    "CC0-1.0": "https://creativecommons.org/publicdomain/zero/1.0/legalcode",
    "Apache-2.0": "https://www.apache.org/licenses/LICENSE-2.0",
}


def export_readme(target: str, record: dict[str, Any], card: str) -> str:
    """Return the README of an export: how to use it, what its networks take, and the package's model card."""
    parts = [f"# {record['package']} as {_name(target)}", f"> **{record['notice']}**", _HOW[target].rstrip()]
    if target != "bundle":
        parts.append(_NETWORKS_ALONE.rstrip())
    parts += ["## Networks", _table(record["networks"]), "The model card of the package follows.", card.rstrip()]
    return "\n\n".join(part for part in parts if part) + "\n"


def _name(target: str) -> str:
    return {"bundle": "MONAI bundle", "onnx": "ONNX", "openvino": "OpenVINO IR"}[target]


def _table(networks: dict[str, dict[str, Any]]) -> str:
    rows = [
        "| network | file | spacing | windows (HU) | classes | sizes are multiples of | logits differ from torch by |"
    ]
    rows.append("|---|---|---|---|---|---|---|")
    for role, facts in networks.items():
        windows = ", ".join(f"{low:g}..{high:g}" for low, high in facts["windows"])
        difference = facts.get("largest_logit_difference")
        checked = "not checked" if difference is None else f"{difference:.1g}"
        cells = [role, facts["file"], f"{facts['spacing_mm']:g} mm", windows, ", ".join(facts["classes"])]
        rows.append("| " + " | ".join([*cells, str(facts["divisor"]), checked]) + " |")
    return "\n".join(rows)


def licence_text(package: ModelPackage, target: str) -> str:
    """Return the licence file of an export: that of the model, and of the code that a bundle carries."""
    address = _ADDRESSES.get(package.licence, f"https://spdx.org/licenses/{package.licence}.html")
    lines = [
        f"Model weights ({package.name}/{package.version})",
        f"SPDX-License-Identifier: {package.licence}",
        f"Text of the licence: {address}",
        "",
        package.notice,
    ]
    data = package.metadata.get("provenance", {}).get("data")
    lines += [f"Trained on: {data}"] if data else []
    if target == "bundle":
        lines += [
            "",
            "Code (the folders hlfd and configs)",
            "SPDX-License-Identifier: Apache-2.0",
            f"Text of the licence: {_ADDRESSES['Apache-2.0']}",
        ]
    return "\n".join(lines) + "\n"
