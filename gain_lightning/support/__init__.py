"""The ground that all packages stand on: files, names, threads and terminals. Nothing here knows any network."""
