"""From a file's grid to the networks' grids and back: orientation, body box, resampling, HU windows."""
