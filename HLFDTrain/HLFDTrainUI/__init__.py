"""The panels of the module in desktop Slicer: qt only, the work is done by HLFDTrainLib."""
