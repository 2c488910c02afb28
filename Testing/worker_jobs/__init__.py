"""Job kinds that only tests ask for; the worker finds them by ``--package worker_jobs``."""
