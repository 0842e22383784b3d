"""One run on disk: the writer and the reader of each of its files, side by side."""
