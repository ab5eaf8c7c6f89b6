"""What the benchmarks share: processes and what they cost, files, and the arithmetic of limits."""
