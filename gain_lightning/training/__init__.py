"""The surroundings of a method while it trains: the config, the run's records, guards, resume and pruning."""
