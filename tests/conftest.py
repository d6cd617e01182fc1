"""What tests of several folders share lies in `pipelines/support`."""

import sys
from pathlib import Path

SUPPORT = Path(__file__).parent / "pipelines" / "support"
if str(SUPPORT) not in sys.path:
    sys.path.append(str(SUPPORT))
