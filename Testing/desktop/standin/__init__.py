"""The parts of desktop Slicer that panels touch and slicer-core lacks, on PySide6: for tests only.

Modelled on Slicer's sources (``sources.py`` names the file of each public name), on the real MRML of slicer-core.
``install()`` puts the modules ``qt`` and ``ctk`` and the missing parts of ``slicer`` in place, ``uninstall()`` takes
them away again. With ``HLFD_SLICER_PYTHON`` naming the folder ``Base/Python/slicer`` of a Slicer checkout, its own
``parameterNodeWrapper``, ``i18n`` and ``ScriptedLoadableModule`` are used instead of those written here.
"""

from __future__ import annotations

from standin.install import Desktop, install, uninstall

__all__ = ["Desktop", "install", "uninstall"]
