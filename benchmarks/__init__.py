"""Figures of Keyfleet; each script prints ratios and counts. See README.md beside this file."""
