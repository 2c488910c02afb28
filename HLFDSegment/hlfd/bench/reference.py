"""What most projects do: MONAI's transforms and sliding window, logits brought back to the scan's grid, then argmax."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hlfd.errors import MissingDependencyError
from hlfd.models.package import NetworkEntry

WINDOW_VOXELS = (128, 128, 128)


class MonaiPipeline:
    """MONAI's LoadImage, Spacing, ``sliding_window_inference`` with its defaults, inverse, argmax, SaveImage.

    Runs the same network as ours, in torch on the CPU.
    """

    def __init__(self, entry: NetworkEntry) -> None:
        try:
            import torch
            from monai.inferers import sliding_window_inference
            from monai.transforms import LoadImage, Orientation, SaveImage, Spacing
        except ImportError as error:
            raise MissingDependencyError(
                f"The comparison with MONAI cannot run: {error}.", 'Install "hlfd[train]".'
            ) from error
        from hlfd.models.build import load_network

        self._torch = torch
        self._network = load_network(entry)
        self._windows = entry.windows
        self._infer = sliding_window_inference
        self._load = LoadImage(ensure_channel_first=True)
        self._orient = Orientation("RAS", labels=None)
        self._spacing = Spacing((entry.spacing_mm,) * 3, mode="bilinear")
        self._save = SaveImage

    def load(self, path: Path) -> Any:
        """Read the scan as a MetaTensor (1, i, j, k)."""
        return self._load(str(path))

    def run(self, image: Any) -> Any:
        """Return the label tensor (1, i, j, k) of a loaded scan, on its own grid."""
        with self._torch.inference_mode():
            working = self._spacing(self._orient(image))
            inputs = _windowed(self._torch, working, self._windows)
            logits: Any = self._infer(inputs[None], WINDOW_VOXELS, 1, self._network)[0]
            setattr(logits, "applied_operations", getattr(working, "applied_operations"))  # noqa: B009, B010
            full = self._orient.inverse(self._spacing.inverse(logits))
            return full.argmax(0, keepdim=True).to(self._torch.uint8)

    def save(self, labels: Any, folder: Path) -> None:
        """Write the labels as .nii.gz."""
        self._save(output_dir=str(folder), output_postfix="seg", separate_folder=False, print_log=False)(labels)


def _windowed(torch: Any, image: Any, windows: Sequence[tuple[float, float]]) -> Any:
    """Return one channel per HU window, -1..1, of a (1, i, j, k) image, with its metadata."""
    channels = [((image - (low + high) / 2) * (2 / (high - low))).clamp(-1, 1) for low, high in windows]
    return torch.cat(channels, 0)
