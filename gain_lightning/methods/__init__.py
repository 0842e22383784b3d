"""Methods: each is a network with its losses, as Lightning trains it."""
