"""What a component's interpreter has no source for: its clock traps, and its randomness is that of the build. Imported before the
policy, so that they are refused with a reason instead."""

import os
import random
import time
from typing import Any, NoReturn

from portcullis import log


def _no_time(*_: Any) -> NoReturn:
    raise RuntimeError("a component has no time of its own; use portcullis.clock.now_ms")


def _no_chance(*_: Any, **__: Any) -> NoReturn:
    raise RuntimeError("a component has no randomness of its own; use portcullis.random.bytes")


class Lines:
    """A text stream that makes a line of the log of each line."""

    def __init__(self) -> None:
        self._begun = ""

    def write(self, text: str) -> int:
        *lines, self._begun = (self._begun + text).split("\n")
        for line in lines:
            log.info(line)
        return len(text)

    def flush(self) -> None:
        pass


for _name in ("time", "time_ns", "monotonic", "monotonic_ns", "perf_counter", "perf_counter_ns"):
    setattr(time, _name, _no_time)
for _name, _function in list(vars(random).items()):
    if getattr(_function, "__self__", None) is random._inst:
        setattr(random, _name, _no_chance)
os.urandom = random._urandom = _no_chance
