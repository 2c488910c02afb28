"""Model packages: the folder format, the registry of installed packages, import and removal."""
