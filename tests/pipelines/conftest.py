import sys
from pathlib import Path

# Helpers that spawned workers have to import by name, too.
sys.path.insert(0, str(Path(__file__).parent / "support"))
