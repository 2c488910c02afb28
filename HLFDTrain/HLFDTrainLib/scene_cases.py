"""Nodes of a scene -> what a case is made of: arrays, matrices, and what segments say about themselves."""
