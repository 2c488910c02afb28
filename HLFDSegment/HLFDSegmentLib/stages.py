"""What panels call the stages of a segmentation and of feature maps."""

from __future__ import annotations

STAGES = {
    "start": "Starting",
    "load model": "Loading the model",
    "prepare": "Preparing the image",
    "surfaces": "Making surfaces",
    "locate": "Finding the organs",
    "refine": "Outlining",
    "postprocess": "Cleaning up",
    "export": "Outlining",
    "measure": "Measuring",
    "scene": "Adding to the scene",
}
FEATURE_STAGES = {
    "locate": "Finding the organs",
    "load model": "Loading the model",
    "load networks": "Loading the networks",
    "run teacher": "Running the teacher",
    "run student": "Running the student",
    "run undistilled": "Running the student without distillation",
    "run base": "Running the student before fine-tuning",
    "maps": "Making the maps",
}
