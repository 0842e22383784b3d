"""The verbs of ``gain``, a module each: its options and what it prints. :mod:`gain_lightning.cli` has their table."""
