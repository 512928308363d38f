"""Write the generated files: `python -m dashboards`, or `make dashboards`, beside their sources; with `--to` for another installation."""

import argparse
import sys
from pathlib import Path

from dashboards.generated_files import write_files
from dashboards.links import BaseUrls

DIRECTORY = Path(__file__).parent / "generated"


def main() -> None:
    """Write the files, and print one line for each that has changed."""
    parser = argparse.ArgumentParser(prog="python -m dashboards", description="Write dashboards and rules.")
    urls = BaseUrls()
    parser.add_argument("--to", type=Path, default=DIRECTORY, metavar="DIR", help="default: %(default)s")
    parser.add_argument("--ui", default=urls.ui, metavar="URL", help="of the web UI (default: %(default)s)")
    parser.add_argument("--grafana", default=urls.grafana, metavar="URL", help="of Grafana (default: %(default)s)")
    args = parser.parse_args()
    written = BaseUrls(ui=args.ui.rstrip("/"), grafana=args.grafana.rstrip("/"))
    sys.stdout.writelines(f"{line}\n" for line in write_files(args.to, written))


if __name__ == "__main__":
    main()
