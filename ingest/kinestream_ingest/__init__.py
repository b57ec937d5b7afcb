"""Sources to frames stream: cameras and files become packed frames."""
