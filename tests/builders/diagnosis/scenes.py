"""All scenes by name."""

from tests.builders.diagnosis import calm_scenes, error_scenes, label_scenes
from tests.builders.diagnosis.scene import SCENES

__all__ = ["SCENES", "calm_scenes", "error_scenes", "label_scenes"]
