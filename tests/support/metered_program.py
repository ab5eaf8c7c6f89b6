"""A worker process as far as metrics go: it counts as it is told, and says when that is done.

Arguments: the directory, the key's name, and how many calls to count.
"""

import sys
from pathlib import Path

from keyfleet_workers.metrics import Standing
from keyfleet_workers.metrics.opening import meter_in

__all__: list[str] = []

directory, key_name, calls = sys.argv[1:]
meter = meter_in(Path(directory), key_name)
meter.began(f"{key_name}:host")
for _ in range(int(calls)):
    meter.called("m", "success", 0.2, 5, 9)
meter.stand(Standing(int(calls), 8, 1))
print("counted", flush=True)
for line in sys.stdin:
    if line == "end\n":
        meter.ends()
        print("ended", flush=True)
    elif line.startswith("models "):
        for number in range(int(line.split()[1])):
            meter.called("é" * 190 + str(number), "success", 0.2, 5, 9)
        print("called", flush=True)
