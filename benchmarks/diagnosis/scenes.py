"""All scenes by name."""

from benchmarks.diagnosis import calm_scenes, error_scenes, label_scenes
from benchmarks.diagnosis.scene import SCENES

__all__ = ["SCENES", "calm_scenes", "error_scenes", "label_scenes"]
