"""From a CT volume to labels and measurements: locate, refine, bring labels back, post-process, measure.

``Segmenter`` and ``segment`` are loaded on first use, so that reading a result's types stays light.
"""

from __future__ import annotations

from typing import Any

__all__ = ["Segmenter", "segment"]


def __getattr__(name: str) -> Any:
    if name in __all__:
        from hlfd.inference import segmenter

        return getattr(segmenter, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
