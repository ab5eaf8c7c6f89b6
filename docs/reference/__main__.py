"""`python -m docs.reference`: write the tables of `docs/configuration.md` anew."""

from __future__ import annotations

from docs.reference.page import PAGE, filled

PAGE.write_text(filled(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
