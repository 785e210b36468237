"""The pocket raters, small Qwen-VLs, and how they are made.

There are three: of frames, of windows and of episodes. What they share stands here; what is one's own, in its folder.
"""

from actors.rating.engine_site.likert_engine_hooks import mend_torchvision

# Transformers imports torchvision, if it is there, together with its first model.
mend_torchvision()
