"""A fake step whose decode workers read from a disk with passing faults: EIO now and then.

The opener is patched wherever the preparer is unpickled, so in the workers themselves.
"""

import errno
import os
from dataclasses import dataclass
from pathlib import Path

from fake_step import FakePreparer, FakeStep, FakeWork


@dataclass(frozen=True)
class FlakyPreparer(FakePreparer):
    def __reduce__(self):
        return _in_worker, ()


def _in_worker():
    real, tries = Path.read_bytes, {}

    def read_bytes(self):
        if self.suffix != ".png":
            return real(self)
        tries[self] = tries.get(self, 0) + 1
        # Every third file fails at its first try, every ninth at its second as well.
        seed = sum(self.name.encode())
        if (seed % 3 == 0 and tries[self] == 1) or (seed % 9 == 0 and tries[self] == 2):
            raise OSError(errno.EIO, os.strerror(errno.EIO), str(self))
        return real(self)

    Path.read_bytes = read_bytes
    return FlakyPreparer()


@dataclass(frozen=True, kw_only=True)
class FlakyStep(FakeStep):
    def open(self, device):
        return FlakyWork(self, device)


class FlakyWork(FakeWork):
    def describe(self):
        described = super().describe()
        object.__setattr__(described, "preparer", FlakyPreparer())
        return described
