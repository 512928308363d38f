"""Write the generated files: `python -m dashboards`, or `make dashboards`; with `--to` for another installation.

They go beside their sources, and into the Helm chart, which may not read outside of its own folder.
"""

import argparse
import sys
from pathlib import Path

from dashboards.generated_files import write_files
from dashboards.links import BaseUrls

DIRECTORY = Path(__file__).parent / "generated"
CHART_DIRECTORY = Path(__file__).parents[1] / "deploy" / "helm" / "shadow" / "files"


def main() -> None:
    """Write the files, and print one line for each that has changed."""
    parser = argparse.ArgumentParser(prog="python -m dashboards", description="Write dashboards and rules.")
    urls = BaseUrls()
    parser.add_argument(
        "--to", type=Path, metavar="DIR", help=f"default: {DIRECTORY}, and the Helm chart of a checkout"
    )
    parser.add_argument("--ui", default=urls.ui, metavar="URL", help="of the web UI (default: %(default)s)")
    parser.add_argument("--grafana", default=urls.grafana, metavar="URL", help="of Grafana (default: %(default)s)")
    args = parser.parse_args()
    written = BaseUrls(ui=args.ui.rstrip("/"), grafana=args.grafana.rstrip("/"))
    directories = [args.to] if args.to else [DIRECTORY, *([CHART_DIRECTORY] if CHART_DIRECTORY.exists() else [])]
    for directory in directories:
        sys.stdout.writelines(f"{line}\n" for line in write_files(directory, written))


if __name__ == "__main__":
    main()
