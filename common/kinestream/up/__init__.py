"""What one file describes and `kinestream up` runs: reading and checking it, and keeping its parts alive.

The file with its lines: `document.py`. What may stand in it: `options.py`, `plan.py`, and for editors
`schema.py`. What runs: `parts.py`, `keeper.py`. Not for: the commands (see `kinestream.commands.up`,
`.config`).
"""
