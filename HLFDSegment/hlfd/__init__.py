"""HLFD: small, fast, explainable segmentation of kidney and liver tumours in CT.

The engine knows nothing of Slicer, VTK, Qt or trame, and importing it costs neither torch nor monai.
"""

__version__ = "0.1.0"
