"""Simulated abdominal CT with exact labels, for training and tests; needs torch and scipy."""

from hlfd.phantom.acquisition import AcquisitionSettings, Scan, draw_scan, render
from hlfd.phantom.anatomy import Anatomy, AnatomySettings, build_anatomy
from hlfd.phantom.shapes import kits_cases, load_kits
from hlfd.phantom.sheet import sheet
from hlfd.phantom.simulate import PhantomSettings, simulate
from hlfd.phantom.tissues import LABEL_OF_TISSUE, Tissue, tissue_names, to_labels

__all__ = [
    "LABEL_OF_TISSUE",
    "AcquisitionSettings",
    "Anatomy",
    "AnatomySettings",
    "PhantomSettings",
    "Scan",
    "Tissue",
    "build_anatomy",
    "draw_scan",
    "kits_cases",
    "load_kits",
    "render",
    "sheet",
    "simulate",
    "tissue_names",
    "to_labels",
]
