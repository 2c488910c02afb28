"""Volumes and label maps in and out: NIfTI, NRRD, MetaImage, DICOM series and Slicer's .seg.nrrd."""

from hlfd.io.dicom import SeriesInfo, list_series
from hlfd.io.read import read_label_map, read_volume
from hlfd.io.write import write_label_map, write_volume

__all__ = ["SeriesInfo", "list_series", "read_label_map", "read_volume", "write_label_map", "write_volume"]
