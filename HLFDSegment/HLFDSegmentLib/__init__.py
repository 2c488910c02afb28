"""MRML logic shared by desktop Slicer and the browser application: no qt, no trame, scene passed in."""
