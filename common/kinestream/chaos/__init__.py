"""The fault test that ships: a pipeline on a private Redis, a seeded schedule of faults, and a verdict.

Reading order: `schedule.py` (what happens when), `stage.py` and `actors.py` (who plays), `faults.py` (what
is done to them), `evidence.py` (what subscribers and Redis tell), `verdict.py` (what must hold), and
`performance.py` (from the first process to the last). What is promised is told in docs/reliability.md.

Not for: tests of single steps, which the test suite has; nor for anybody's real Redis: it starts its own.
"""
