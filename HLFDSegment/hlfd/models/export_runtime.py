"""What runs inside an exported MONAI bundle: the whole pipeline as the inferer of ``configs/inference.json``."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from hlfd.config import SegmentSettings
from hlfd.errors import InputError
from hlfd.inference.segmenter import Segmenter
from hlfd.models.package import load_package
from hlfd.volume import Volume

Case = Mapping[str, Any]


class BundleSegmenter:
    """Segments images that MONAI loaded, exactly as ``hlfd segment`` does.

    ``package`` is the folder of the model package inside the bundle; ``settings`` are those of ``SegmentSettings``.
    Raises ``ModelError`` for damaged files and what ``Segmenter`` raises.
    """

    def __init__(self, package: str, **settings: Any) -> None:
        self._segmenter = Segmenter(load_package(Path(package)), SegmentSettings(**settings))

    def __call__(self, image: Any) -> Any:
        """Return the label map (1, i, j, k) of an image (1, i, j, k) of HU with a RAS affine; both are MetaTensors."""
        import torch
        from monai.data import MetaTensor

        if image.ndim != 4 or image.shape[0] != 1:
            raise InputError(f"The image has shape {tuple(image.shape)}; one channel, (1, i, j, k), was expected.")
        values = np.ascontiguousarray(np.asarray(image[0]).T, np.float32)
        result = self._segmenter.run(Volume(values, np.asarray(image.affine, np.float64)))
        labels = torch.from_numpy(np.ascontiguousarray(result.label_map.array.T))
        return MetaTensor(labels[None], meta=dict(image.meta))


class CaseLoop:
    """Runs ``inferer`` on the image of every case of ``dataset``, and ``postprocessing`` on its result as ``pred``."""

    def __init__(
        self, dataset: Iterable[Case], inferer: Callable[[Any], Any], postprocessing: Callable[[Case], Any]
    ) -> None:
        self._dataset, self._inferer, self._postprocessing = dataset, inferer, postprocessing

    def run(self) -> int:
        """Run all cases and return how many there were; none raises ``InputError``."""
        count = 0
        for case in self._dataset:
            self._postprocessing({**case, "pred": self._inferer(case["image"])})
            count += 1
        if not count:
            raise InputError("There is no image to segment.", "Name one with --image, or a folder with --dataset_dir.")
        return count
