"""`keyfleet init`: a keys file to start with, from what the environment holds."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import click

from keyfleet.cli.keys_template import render_keys_file
from keyfleet.config.environment import Environment
from keyfleet.config.environment_keys import environment_keys
from keyfleet.config.key_config import KeyConfig
from keyfleet.errors import ConfigurationError

__all__ = ["init"]

_MODE = 0o600
"""The file refers to secrets now; people paste them in later."""


@click.command()
@click.option(
    "-o",
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    default=Path("keys.yaml"),
    show_default=True,
    help="The file to write.",
)
@click.option("--force", is_flag=True, help="Replace the file if it is there.")
def init(output: Path, force: bool) -> None:
    """Write a commented keys file from what the environment and .env hold.

    Every OPENAI_API_KEY… becomes a key, with its OPENAI_API_PROXY… and the limits of *_PER_MIN_LIMIT. The file
    refers to the variables (${OPENAI_API_KEY_1}); no secret is written into it.
    """
    env = Environment.read()
    try:
        keys = environment_keys(env)
    except ConfigurationError as error:
        raise click.UsageError(str(error)) from None
    _write(output, render_keys_file(keys, env), force=force)
    click.echo(_summary(output, keys))


def _write(path: Path, text: str, *, force: bool) -> None:
    """Writes the whole file or nothing, for its owner's eyes only. Raises UsageError (exit code 2)."""
    if not force and (path.exists() or path.is_symlink()):
        raise click.UsageError(f"{path} is there already; --force replaces it, -o names another file")
    try:
        descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        try:
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                file.write(text)
            Path(name).chmod(_MODE)
            Path(name).replace(path)
        finally:
            Path(name).unlink(missing_ok=True)  # nothing is left of it once it has replaced the target
    except OSError as error:
        raise click.UsageError(f"{path} can't be written: {error.strerror}") from None


def _summary(path: Path, keys: tuple[KeyConfig, ...]) -> str:
    if keys:
        origins = ", ".join(f"{key.name} from {key.api_key.variables[0]}" for key in keys)
        plural = "key" if len(keys) == 1 else "keys"
        lines = [f"{path}: {len(keys)} {plural} ({origins})"]
    else:
        lines = [f"{path}: no API key found, so it holds an example: set OPENAI_API_KEY, or fill the file in"]
    elsewhere = "" if str(path) in ("keys.yaml", "keys.yml") else f" --keys {path}"
    return "\n".join([*lines, f"next: keyfleet run requests.jsonl{elsewhere}"])
