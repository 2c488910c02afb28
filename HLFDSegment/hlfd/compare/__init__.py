"""Fair comparison of distillation methods: equal student, data, steps and seeds, paired differences, one page.

``hlfd.compare.settings`` reads the configuration, ``run`` trains what is missing, ``results`` and ``page`` report.
"""
