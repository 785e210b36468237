"""Labellers: what RG-VLM is compared with. A file each, behind the one interface of `labeller.py`."""
