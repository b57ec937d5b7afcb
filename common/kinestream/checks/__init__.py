"""Checks of `kinestream doctor` that need no worker: the Redis server, what is in it, this host."""
