"""What integration and chaos tests share: real processes, their files, and the provider stand-in behind them."""

from support.commands import Command, run_command, start_command
from support.events import wait_until
from support.files import (
    bare_line,
    batch_line,
    errors_of,
    lines_answered,
    rows_of,
    write_lines,
    written_lines,
)
from support.ledger_check import assert_promises_kept, limits_exceeded, repeats_in
from support.link import LossyLink
from support.place import Place, sim_key
from support.processes import children_of, command_line, pids_of, signal_all, wait_until_gone
from support.server import ServerProcess

__all__ = [
    "Command",
    "LossyLink",
    "Place",
    "ServerProcess",
    "assert_promises_kept",
    "bare_line",
    "batch_line",
    "children_of",
    "command_line",
    "errors_of",
    "limits_exceeded",
    "lines_answered",
    "pids_of",
    "repeats_in",
    "rows_of",
    "run_command",
    "signal_all",
    "sim_key",
    "start_command",
    "wait_until",
    "wait_until_gone",
    "write_lines",
    "written_lines",
]
