"""Flower for a fleet: guarded, bounded in memory, and with a page for keys, queues and jobs."""
