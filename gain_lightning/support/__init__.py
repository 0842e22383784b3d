"""What all rooms stand on: files, names, threads and terminals; nothing here knows what a network is."""
