"""MRML logic of HLFD Train: no qt, no globals; the scene is passed in."""
