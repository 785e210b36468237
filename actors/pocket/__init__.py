"""The pocket rater: a Qwen2-VL of about two million parameters that ships with the package, and how it is made."""

from actors.rating.engine_site.likert_engine_hooks import mend_torchvision

# Transformers imports torchvision, if it is there, together with its first model.
mend_torchvision()

IMAGE_PX = 112
"""Every picture is brought to this many pixels squared, whatever its size was."""
