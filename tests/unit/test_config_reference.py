"""docs/configuration.md: it names every field of the keys file and every variable, and its example reads."""

from __future__ import annotations

import re
from pathlib import Path

from keyfleet.config import PROVIDERS, Environment, load_keys_file
from keyfleet.config.key_config import DEFAULT_AZURE_API_VERSION
from keyfleet.config.key_fields import KEY_FIELDS
from keyfleet.config.keyfile import TOP_FIELDS
from keyfleet.config.limit_fields import LIMIT_FIELDS
from keyfleet.config.model_fields import GROUP_FIELDS, MODEL_FIELDS

PROJECT = Path(__file__).parents[2]
TEXT = (PROJECT / "docs" / "configuration.md").read_text(encoding="utf-8")

VARIABLE = re.compile(r"\"(KEYFLEET_[A-Z0-9_]+)\"")


def cells(*columns: int) -> set[str]:
    """What stands in backticks in these columns of all tables."""
    rows = [line.split("|")[1:-1] for line in TEXT.splitlines() if line.startswith("| ")]
    chosen = [cell for row in rows for number, cell in enumerate(row) if number in columns]
    return {name for cell in chosen for name in re.findall(r"`([^`]+)`", cell)}


def variables_of_the_source() -> set[str]:
    sources = [path for root in ("producer", "workers") for path in (PROJECT / root).rglob("*.py")]
    return {name for path in sources for name in VARIABLE.findall(path.read_text(encoding="utf-8"))}


def test_every_field_of_the_keys_file_has_its_row() -> None:
    assert {*KEY_FIELDS, *LIMIT_FIELDS, *MODEL_FIELDS, *GROUP_FIELDS} - cells(0) == set()
    assert [field for field in TOP_FIELDS if f"\n{field}:" not in TEXT] == []


def test_every_variable_is_named_and_no_other() -> None:
    named = set(re.findall(r"`(KEYFLEET_[A-Z0-9_]+)`", TEXT))
    assert named == variables_of_the_source()


def test_providers_and_defaults_are_those_of_the_code() -> None:
    assert set(PROVIDERS) < cells(1)
    assert DEFAULT_AZURE_API_VERSION in cells(2)


def test_the_example_reads(tmp_path: Path) -> None:
    (example,) = re.findall(r"```yaml\n(.*?)```", TEXT, re.DOTALL)
    (tmp_path / "keys.yaml").write_text(example, encoding="utf-8")
    research, azure = load_keys_file(tmp_path / "keys.yaml", Environment({}))
    assert [pool.scope for pool in research.pools_for("gpt-4o-2024-08-06")] == ["gpt-4o*", "gpt-4o"]
    assert azure.settings_for("gpt-4o").alias == "gpt4o-prod"
    assert research.headroom == azure.headroom == 0.2
