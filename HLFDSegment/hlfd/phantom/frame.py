"""The sizes that the parts of one body share."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch


@dataclass
class Frame:
    """Sizes in mm that the parts of one body share; the origin is the centre of the second lumbar vertebra."""

    scale: float
    half_width: float
    front: float
    back: float
    fat_front: float
    fat_side: float
    fat_back: float
    muscle: float
    dome: float
    """Height of the right diaphragm dome."""
    atrophy: float
    """0 for lean muscle, 1 for muscle full of fat streaks."""
    tilt: float
    fields: dict[str, torch.Tensor] = field(default_factory=dict)


def draw_frame(rng: np.random.Generator, size: float | None = None, fatness: float | None = None) -> Frame:
    """Draw the sizes of a body; ``size`` scales it (1 is average), ``fatness`` is 0 (lean) to 1 (obese)."""
    scale = float(np.clip(rng.normal(1.0, 0.07), 0.84, 1.18)) if size is None else size
    fat = float(rng.beta(1.4, 1.8)) if fatness is None else fatness
    roundness = rng.uniform(0, 1)
    return Frame(
        scale=scale,
        half_width=scale * (rng.uniform(112, 138) + 18 * fat),
        front=scale * (90 + 42 * roundness + 28 * fat),
        back=scale * rng.uniform(70, 92),
        fat_front=4 + 42 * fat * rng.uniform(0.5, 1.2),
        fat_side=4 + 38 * fat * rng.uniform(0.5, 1.2),
        fat_back=6 + 42 * fat * rng.uniform(0.5, 1.3),
        muscle=scale * rng.uniform(8, 17),
        dome=scale * rng.uniform(95, 150),
        atrophy=float(rng.beta(1.2, 1.6)),
        tilt=rng.uniform(-0.06, 0.06),
    )
