"""Draw pictures from arrays: maps, grids, charts, strips and their encoding."""
