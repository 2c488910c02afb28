"""How sure a lesion is: the share of true ones among lesions of like evidence, as a package measured it.

``quality.confidence`` of ``model.json``::

    {"bias": -1.2, "weights": {"certainty": 2.1, "lesion": 0.4, "size": 0.9},  # of the fields of LesionEvidence
     "scans": 90, "lesions": 412, "true": 251, "held_out": {"auc": 0.9, "calibration_error": 0.05, "bins": [...]}}

The confidence is 1 / (1 + exp(-(bias + sum of weight * field))). ``hlfd train RECIPE --stages quality`` fits it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from hlfd.errors import ModelError
from hlfd.inference.quality_lesions import LesionEvidence


@dataclass(frozen=True)
class Confidence:
    """A logistic model over the fields of ``LesionEvidence``."""

    bias: float
    weights: Mapping[str, float]

    def __post_init__(self) -> None:
        unknown = sorted(set(self.weights) - set(LesionEvidence.__dataclass_fields__))
        if unknown or not all(map(math.isfinite, (self.bias, *self.weights.values()))):
            raise ModelError(
                f"quality.confidence of model.json cannot be used: unknown {unknown} or numbers that are not finite.",
                "Update HLFD, or import the package again.",
            )

    @classmethod
    def of(cls, quality: Mapping[str, Any]) -> Confidence | None:
        """Read ``quality`` of a package's ``model.json``; None where lesions were not calibrated."""
        values = quality.get("confidence")
        if not values:
            return None
        try:
            return cls(float(values["bias"]), {name: float(value) for name, value in values["weights"].items()})
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise ModelError(
                f"quality.confidence of model.json lacks or misstates {error}.", "Import the package again."
            ) from error

    def __call__(self, evidence: LesionEvidence) -> float:
        """Return the expected share, 0 to 1, of true lesions among those of this evidence."""
        total = self.bias + sum(weight * getattr(evidence, name) for name, weight in self.weights.items())
        return 1 / (1 + math.exp(-max(-30.0, min(30.0, total))))
