"""What a process tells a monitoring system: metrics for Prometheus, whether it lives, whether it is ready.

Not for: what is measured; each package has that beside what it measures. Importing this loads nothing slow.
"""
