"""From a CT volume to labels and measurements: locate, refine, bring labels back, post-process, measure."""
