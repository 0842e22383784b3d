"""A network with its losses, as Lightning trains it."""
