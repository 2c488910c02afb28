"""Speed and memory of the real pipeline and networks, as ratios within one run on the machine at hand."""
