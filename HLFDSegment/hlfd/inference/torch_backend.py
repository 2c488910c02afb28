"""The torch backend: half precision and channels-last on CUDA, float32 on the CPU.

Imported only when torch is chosen.
"""

from __future__ import annotations

import logging

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from hlfd.errors import GpuOutOfMemoryError
from hlfd.inference.backends import bytes_per_voxel
from hlfd.models.package import NetworkEntry

_PROBE = 64
_MAX_HALF_DISAGREEMENT = 0.01

logger = logging.getLogger(__name__)


class TorchBackend:
    """One network of a package run by torch on one device."""

    name = "torch"

    def __init__(self, network: nn.Module, device: str, threads: int, channels: int) -> None:
        """Move ``network`` (``channels`` inputs, in eval mode) to ``device``."""
        self.device = device
        self._channels = channels
        self._network = network.eval().requires_grad_(False).to(device)
        self._half = False
        self._bytes_per_voxel = 0.0
        if device == "cpu":
            torch.set_num_threads(threads)
        else:
            self._network = self._network.to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
            self._half = self._half_agrees()

    @classmethod
    def load(cls, entry: NetworkEntry, device: str, threads: int) -> TorchBackend:
        """Build the network of a package and load its weights."""
        from hlfd.models.build import load_network

        return cls(load_network(entry), device, threads, len(entry.windows))

    def _forward(self, image: Tensor, half: bool) -> Tensor:
        with torch.inference_mode(), torch.autocast(self.device.split(":")[0], torch.float16, enabled=half):
            return self._network(image).float()

    def _half_agrees(self) -> bool:
        """Compare half with float32 on one block: some cuDNN releases return wrong convolutions in half."""
        generator = torch.Generator().manual_seed(0)
        block = torch.randn(1, self._channels, *(_PROBE,) * 3, generator=generator).clamp(-1, 1)
        block = block.to(self.device, memory_format=torch.channels_last_3d)
        full, half = self._forward(block, half=False), self._forward(block, half=True)
        differ = float((full.argmax(1) != half.argmax(1)).float().mean())
        if not differ <= _MAX_HALF_DISAGREEMENT or not bool(torch.isfinite(half).all()):
            logger.warning("Half precision differs in %.1f %% of voxels on this GPU; float32 is used.", 100 * differ)
            return False
        return True

    def infer(self, channels: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return logits (classes, z, y, x) of (1, channels, z, y, x); raise ``GpuOutOfMemoryError`` where it is."""
        try:
            image = torch.from_numpy(np.ascontiguousarray(channels)).to(self.device)
            if self.device != "cpu":
                image = image.contiguous(memory_format=torch.channels_last_3d)
            result: NDArray[np.float32] = self._forward(image, self._half)[0].contiguous().cpu().numpy()
        except torch.cuda.OutOfMemoryError as error:
            torch.cuda.empty_cache()
            raise GpuOutOfMemoryError(
                f"The GPU has no memory for a block of {channels.shape[2:]} voxels.", "Close other programs on the GPU."
            ) from error
        return result

    def bytes_per_voxel(self) -> float:
        """Return the memory of the largest step (inputs, outputs, and its largest tensor again for skips)."""
        if not self._bytes_per_voxel:
            steps: list[list[int]] = []

            def note(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
                steps.append([t.numel() for t in (*inputs, output) if isinstance(t, Tensor)])

            leaves = [m for m in self._network.modules() if not list(m.children())]
            hooks = [leaf.register_forward_hook(note) for leaf in leaves]
            self._forward(torch.zeros(1, self._channels, *(_PROBE,) * 3, device=self.device), self._half)
            for hook in hooks:
                hook.remove()
            self._bytes_per_voxel = bytes_per_voxel(steps)
        return self._bytes_per_voxel
