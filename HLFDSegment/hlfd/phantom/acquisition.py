"""Turn tissues into a CT image: intensities, partial volume, noise and artefacts."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from hlfd.config import look_up
from hlfd.errors import ConfigError
from hlfd.phantom.artefacts import add_metal_streaks
from hlfd.phantom.intensity import PHASES, Patient, draw_patient


@dataclass(frozen=True)
class AcquisitionSettings:
    """How the scan was made; every value that is None is drawn at random."""

    phase: str | None = None
    """``native``, ``corticomedullary``, ``nephrographic``, ``excretory``, ``mixed`` or ``random``."""
    noise: float | None = None
    """Standard deviation of the noise in HU."""
    blur_mm: float | None = None
    """Sigma in mm of the in-plane blur of the reconstruction kernel: 0.3 is sharp, 1.2 soft."""
    slice_mm: float | None = None
    """Slice thickness in mm."""

    def __post_init__(self) -> None:
        if self.phase is not None:
            look_up(self.phase, PHASES, "phase")
        for name in ("noise", "blur_mm", "slice_mm"):
            value = getattr(self, name)
            if value is not None and not 0 <= value <= 200:
                raise ConfigError(f"{name} is {value}; a value from 0 to 200 was expected.")


@dataclass(frozen=True)
class Scan:
    """One drawn acquisition: patient intensities and the numbers of the scanner."""

    patient: Patient
    noise: float
    grain_mm: float
    blur_mm: float
    slice_mm: float
    shading: float
    streaks: float
    """Standard deviation in HU of horizontal beam-hardening bands."""
    sharpening: float
    """Strength of the overshoot at edges of a sharp kernel."""
    voxel_share: float
    """Sigma in voxels of further blur in plane: coarse voxels average over their extent."""


def draw_scan(rng: np.random.Generator, settings: AcquisitionSettings | None = None) -> Scan:
    """Draw patient and scanner; a whole volume and its patches look alike when they are given the same scan."""
    s = settings or AcquisitionSettings()
    patient = draw_patient(rng, s.phase)
    noise = float(np.exp(rng.uniform(np.log(4), np.log(30))))
    grain, blur, thick = (
        rng.uniform(0.35, 1.3),
        rng.uniform(0.3, 1.2),
        float(np.exp(rng.uniform(np.log(0.5), np.log(5)))),
    )
    return Scan(
        patient,
        noise if s.noise is None else s.noise,
        grain,
        blur if s.blur_mm is None else s.blur_mm,
        thick if s.slice_mm is None else s.slice_mm,
        rng.uniform(0, 6),
        12 * rng.uniform(0, 1) ** 4,
        max(0.0, rng.uniform(-0.8, 0.9)),
        rng.uniform(0, 0.45) if s.blur_mm is None else 0.0,
    )


def render(
    tissue: torch.Tensor,
    spacing_mm: float | tuple[float, float, float],
    seed: int,
    settings: AcquisitionSettings | None = None,
    scan: Scan | None = None,
    averaged: int = 1,
) -> torch.Tensor:
    """Return float32 HU (k, j, i) of uint8 ``tissue`` (k, j, i), a whole anatomy or a patch of one.

    ``spacing_mm`` is one value or (x, y, z). ``scan`` fixes patient and scanner (``draw_scan``); without it they
    are drawn from ``seed`` too. A slice of the image is the mean of ``averaged`` neighbouring slices of ``tissue``,
    as a thick slice is; the number of slices must be a multiple of it.
    """
    rng = np.random.default_rng([seed, 2])
    scan = scan or draw_scan(rng, settings)
    spacing = [float(v) for v in np.broadcast_to(np.asarray(spacing_mm, float), 3)][::-1]
    device = tissue.device
    generator = torch.Generator().manual_seed(int(rng.integers(2**62)))
    index = tissue.int()
    patient = scan.patient
    image = _look_up(patient.hu, index)
    image += _look_up(patient.coarse, index) * _field(tissue.shape, spacing, 24.0, generator, device)
    image += _look_up(patient.fine, index) * _field(tissue.shape, spacing, 5.5, generator, device)
    if averaged > 1:
        image = image.unflatten(0, (-1, averaged)).mean(1)
        tissue, spacing[0] = tissue[averaged // 2 :: averaged], spacing[0] * averaged
    image = _blur(
        image,
        [
            _thickness(scan.slice_mm, spacing[0]),
            *(_gauss(float(np.hypot(scan.blur_mm, scan.voxel_share * s)), s) for s in spacing[1:]),
        ],
    )
    if scan.sharpening > 0:
        image += scan.sharpening * (image - _blur(image, [[1.0], *(_gauss(1.3, s) for s in spacing[1:])]))
    noise = torch.randn(tissue.shape, generator=generator).to(device)
    noise = _blur(
        noise, [_gauss(0.3 * scan.grain_mm, spacing[0]), *(_gauss(scan.grain_mm, s) for s in spacing[1:])], True
    )
    image += noise.mul_(scan.noise)
    image += scan.shading * _field(tissue.shape, spacing, 110.0, generator, device)
    if scan.streaks > 1:
        bands = torch.randn(_cells(tissue.shape, spacing, (6.0, 4.0, 150.0)), generator=generator).to(device)
        image += scan.streaks * _stretch(bands, tissue.shape)
    add_metal_streaks(image, tissue, spacing, rng)
    return image.clamp_(-1024, 3071)


def _look_up(table: NDArray[np.float32], index: torch.Tensor) -> torch.Tensor:
    return torch.from_numpy(table).to(index.device).index_select(0, index.reshape(-1)).view(index.shape)


def _field(
    shape: torch.Size, spacing: list[float], wavelength: float, generator: torch.Generator, device: torch.device
) -> torch.Tensor:
    """Return smooth unit noise."""
    size = _cells(shape, spacing, (wavelength,) * 3)
    if min(n / m for n, m in zip(shape, size)) < 1.2:
        return torch.randn(tuple(shape), generator=generator).to(device)
    return _stretch(torch.randn(size, generator=generator).to(device), shape) * 1.7


def _cells(shape: torch.Size, spacing: list[float], wavelength: tuple[float, float, float]) -> list[int]:
    return [max(2, round(n * s / w) + 2) for n, s, w in zip(shape, spacing, wavelength)]


def _stretch(values: torch.Tensor, shape: torch.Size) -> torch.Tensor:
    """Interpolate linearly, corners on corners: axis by axis, five times faster than ``functional.interpolate``."""
    for size in shape:  # each product moves the first axis to the end
        values = torch.tensordot(values, _linear(len(values), size).to(values.device), dims=([0], [0]))
    return values


def _linear(nodes: int, size: int) -> torch.Tensor:
    """Return the weights (nodes, size) of ``nodes`` values at ``size`` positions from the first to the last of them."""
    positions = torch.arange(size, dtype=torch.float64) * ((nodes - 1) / max(size - 1, 1))
    return (1 - (positions - torch.arange(nodes)[:, None]).abs()).clamp_(min=0).float()


def _gauss(sigma_mm: float, spacing: float) -> list[float]:
    """Return the right half (centre first) of a normalised Gaussian on voxels."""
    sigma = max(sigma_mm / spacing, 1e-3)
    reach = int(np.ceil(2.5 * sigma)) if sigma > 0.25 else 0
    values = np.exp(-0.5 * (np.arange(reach + 1) / sigma) ** 2)
    return list(values / (2 * values.sum() - values[0]))


def _thickness(slice_mm: float, spacing: float) -> list[float]:
    """Return the right half of a box of the slice thickness on voxels."""
    half = max(slice_mm / spacing, 1.0) / 2
    edges = np.clip(half - (np.arange(int(np.ceil(half + 0.5))) - 0.5), 0, 1)
    return list(edges / (2 * edges.sum() - edges[0]))


def _blur(image: torch.Tensor, kernels: list[list[float]], unit: bool = False) -> torch.Tensor:
    """Filter along each axis with a symmetric kernel; ``unit`` keeps the variance of white noise at 1."""
    for axis, kernel in enumerate(kernels):
        if unit:
            total = float(np.sqrt(2 * np.square(kernel).sum() - kernel[0] ** 2))
            kernel = [w / total for w in kernel]
        if len(kernel) == 1:
            image = image * kernel[0] if unit else image
            continue
        n, reach = image.shape[axis], min(len(kernel) - 1, image.shape[axis] - 1)
        first, last = image.narrow(axis, 0, 1), image.narrow(axis, n - 1, 1)
        padded = torch.cat(
            [first.expand(_sized(image, axis, reach)), image, last.expand(_sized(image, axis, reach))], axis
        )
        out = image * kernel[0]
        for offset in range(1, reach + 1):
            out.add_(padded.narrow(axis, reach - offset, n), alpha=kernel[offset])
            out.add_(padded.narrow(axis, reach + offset, n), alpha=kernel[offset])
        image = out
    return image


def _sized(image: torch.Tensor, axis: int, n: int) -> list[int]:
    shape = list(image.shape)
    shape[axis] = n
    return shape
