"""Write the generated files beside their sources: `python -m dashboards`, or `make dashboards`."""

import sys
from pathlib import Path

from dashboards.generated_files import write_files

DIRECTORY = Path(__file__).parent / "generated"


if __name__ == "__main__":
    sys.stdout.writelines(f"{line}\n" for line in write_files(DIRECTORY))
