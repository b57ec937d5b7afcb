"""Results stream to files, pictures and tables."""
