"""Images that no model of kidneys or liver should mark anything in: other regions of a body, noise, air, wrong HU."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from hlfd.volume import Volume

SHAPE = (56, 108, 132)
SPACING = (3.0, 3.0, 5.0)
_AFFINE = np.diag([*SPACING, 1.0])


def _grid() -> tuple[NDArray, NDArray, NDArray]:
    """Return z, y, x in mm from the middle of the image."""
    axes = [step * (np.arange(n) - (n - 1) / 2) for n, step in zip(SHAPE, SPACING[::-1])]
    z, y, x = np.meshgrid(*axes, indexing="ij")
    return z, y, x


def _volume(hu: NDArray, noise: float = 12.0) -> Volume:
    noisy = hu + np.random.default_rng(0).normal(0, noise, hu.shape)
    return Volume(np.clip(noisy, -1024, 3000).astype(np.int16), _AFFINE)


def air() -> Volume:
    """Nothing but air."""
    return _volume(np.full(SHAPE, -1000.0))


def noise() -> Volume:
    """Noise without any grain larger than a voxel."""
    return _volume(np.zeros(SHAPE), 300.0)


def weak_noise() -> Volume:
    """Noise about the HU of organs."""
    return _volume(np.full(SHAPE, 40.0), 60.0)


def smooth_noise() -> Volume:
    """Noise of the grain and contrast of organs."""
    from scipy.ndimage import gaussian_filter

    blurred = gaussian_filter(np.random.default_rng(0).normal(0, 1, SHAPE), (3.3, 5.5, 5.5))
    return _volume(300 * blurred / blurred.std())


def head() -> Volume:
    """Skull, brain with ventricles, sinuses and neck."""
    z, y, x = _grid()

    def inside(*radii: float) -> NDArray:
        return sum((v / r) ** 2 for v, r in zip((x, y, z + 20), radii)) < 1

    hu = np.full(SHAPE, -1000.0)
    for radii, value in (((78, 96, 110), 40), ((73, 91, 104), 900), ((65, 83, 95), 10), ((63, 81, 92), 33)):
        hu[inside(*radii)] = value
    for side in (-1, 1):
        hu[((x - 14 * side) / 9) ** 2 + ((y - 10) / 30) ** 2 + ((z + 10) / 14) ** 2 < 1] = 8
        hu[(x - 30 * side) ** 2 + (y - 60) ** 2 + (z + 95) ** 2 < 15**2] = -1000
    hu[(np.hypot(x, y + 10) < 55) & (z < -90) & (hu < -900)] = 50
    return _volume(hu)


def legs() -> Volume:
    """Two thighs: skin fat, muscle, bone with marrow, a vessel."""
    z, y, x = _grid()
    hu = np.full(SHAPE, -1000.0)
    for side in (-1, 1):
        r = np.hypot(x - 95 * side, y)
        for radius, value in ((85.0, -100), (65 + 8 * np.sin(z / 60), 55), (15.0, 1100), (8.0, -50)):
            hu[r < radius] = value
        hu[np.hypot(x - 80 * side, y + 10) < 4] = 160
    return _volume(hu)


def region(centre_z: float, seed: int) -> Volume:
    """Return another part of a simulated patient; ``centre_z`` is in mm above the second lumbar vertebra."""
    from hlfd.phantom import AcquisitionSettings, AnatomySettings, build_anatomy, render

    anatomy = build_anatomy(AnatomySettings(spacing_mm=SPACING, shape=SHAPE, centre_z=centre_z), seed)
    hu = render(anatomy.tissue, anatomy.spacing_mm, seed, AcquisitionSettings(phase="nephrographic"))
    return Volume(hu.round().numpy().astype(np.int16), anatomy.affine)
