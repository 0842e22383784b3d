"""What stands round a method while it trains: the config, the run's records, guards, resume and pruning."""
