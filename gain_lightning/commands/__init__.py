"""A file a verb: its options, and what it refuses before torch is imported."""
