"""The warm process behind ``hlfd.jobs``: it runs jobs one after the other and keeps models loaded.

A job kind ``NAME`` is a file ``job_NAME.py`` in this package (or in one named by ``--package``) with a function
``run(context: hlfd.worker.context.JobContext) -> Mapping[str, Any]``; nothing else is needed to add one. See
docs/worker.md.
"""
