"""Frames stream to results stream: reading, batching, inference, committing."""
