"""A command together with all processes it has started: workers may serve from children of what was typed."""

from __future__ import annotations

import signal

from support.processes import children_of, signal_all

__all__ = ["kill_tree", "tree_of"]


def tree_of(pid: int) -> list[int]:
    """A process and all its living descendants, the oldest generation first."""
    found = [pid]
    for one in found:
        found.extend(children_of(one))
    return found


def kill_tree(pid: int) -> None:
    """Kill a process and its descendants at once, so that none can react to another's end."""
    tree = tree_of(pid)
    signal_all(tree, signal.SIGSTOP)
    signal_all(tree, signal.SIGKILL)
