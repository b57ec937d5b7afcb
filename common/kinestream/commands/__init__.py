"""Subcommands of `kinestream` that belong to no one process: demo, process, status, redis.

Not for: ingest, worker, watch, record and render, which live with what they start.
"""
