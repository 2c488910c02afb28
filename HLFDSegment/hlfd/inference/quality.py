"""The quality signal of a package: whether an image is like those of its training, and how sure each lesion is.

Read from the optional key ``quality`` of ``model.json``, see ``quality_image`` and ``quality_model``; a package without
it checks nothing and gives no confidence.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hlfd.errors import ModelError
from hlfd.inference.quality_image import Facts, Limits
from hlfd.inference.quality_lesions import LesionEvidence, RegionEvidence
from hlfd.inference.quality_model import Confidence
from hlfd.models.package import ModelPackage

MIN_CONFIDENCE = 0.1
"""Below it lesions are left out, where the package names no limit of its own."""
UNLIKE = "This image is unlike those that the model was trained on"
NOTHING = "Nothing was marked."


@dataclass(frozen=True)
class Quality:
    """What a package knows about its own reliability; both parts may be absent."""

    confidence: Confidence | None
    limits: Limits | None
    organ: str
    min_confidence: float = MIN_CONFIDENCE
    """Lesions that are true with less than this probability are left out."""

    @classmethod
    def of(cls, package: ModelPackage, organs: Sequence[str]) -> Quality:
        """Read a package, whose ``organs`` are those of its region; raise ``ModelError`` where it is misstated."""
        values = package.metadata.get("quality") or {}
        least = values.get("min_confidence", MIN_CONFIDENCE)
        if not isinstance(least, (int, float)) or not 0 <= least <= 1:
            raise ModelError(
                f"quality.min_confidence of model.json is {least!r}; a number from 0 to 1 was expected.",
                "Import the package again.",
            )
        return cls(Confidence.of(values), Limits.of(values), " or ".join(organs), least)

    @property
    def no_organ(self) -> str:
        """What is said where no organ was found."""
        return f"{UNLIKE}: it shows no {self.organ}. {NOTHING}"

    def warning(self, facts: Facts, consequence: str) -> str | None:
        """Return the sentences that say what about ``facts`` is unlike the training, and what follows; else None."""
        told = self.limits.broken(facts, self.organ) if self.limits is not None else []
        return f"{UNLIKE}: {'; '.join(told)}. {consequence}" if told else None

    def lesion(self, evidence: LesionEvidence | None) -> float | None:
        """Return the confidence of one lesion; None where it is not calibrated or its evidence was not found."""
        return None if evidence is None or self.confidence is None else self.confidence(evidence)


def evidence_at(regions: Sequence[RegionEvidence], points: NDArray[np.float64], cyst: bool) -> LesionEvidence | None:
    """Return the evidence of the lesion on which most ``points`` (n, 3) in mm of the frame lie, of any region."""
    found = (region.at(points, cyst) for region in regions)
    return next((evidence for evidence in found if evidence is not None), None)
