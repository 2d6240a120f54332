import sys
from pathlib import Path

# Scripts there are run by path: their folder comes first on the search path, as it does then.
BENCHMARKS = Path(__file__).resolve().parents[2] / 'benchmarks'
sys.path.insert(0, str(BENCHMARKS))
