"""Cases to train on: layouts of public data sets, their check, and simulated sources."""
