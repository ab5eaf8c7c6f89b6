"""The manual. `python -m docs.reference` writes the tables of its configuration reference."""
