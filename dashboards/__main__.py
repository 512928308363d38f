"""`python -m dashboards`: write the generated files beside their sources."""

import sys
from pathlib import Path

from dashboards.files import generated

DIRECTORY = Path(__file__).parent / "generated"


def main() -> None:
    """Write what is different, remove what is no longer made, say which."""
    texts = generated()
    DIRECTORY.mkdir(exist_ok=True)
    for path in DIRECTORY.iterdir():
        if path.name not in texts:
            path.unlink()
            sys.stdout.write(f"removed {path}\n")
    for name, text in texts.items():
        path = DIRECTORY / name
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")
            sys.stdout.write(f"wrote {path}\n")


if __name__ == "__main__":
    main()
