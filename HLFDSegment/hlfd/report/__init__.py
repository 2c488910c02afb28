"""A report of one segmentation: a self-contained HTML page with pictures, and the measurements as CSV."""

from hlfd.report.content import Agreement, ReportInput
from hlfd.report.write import write_report

__all__ = ["Agreement", "ReportInput", "write_report"]
