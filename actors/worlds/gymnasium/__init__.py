"""Gymnasium: any environment whose actions are a box of numbers, by id or by a function of the user's own."""
