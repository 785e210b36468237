"""How far people agree with one another and with models, and models with themselves."""
