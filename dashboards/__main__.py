"""`python -m dashboards`: write the generated files beside their sources."""

import sys
from pathlib import Path

from dashboards.files import generated

DIRECTORY = Path(__file__).parent / "generated"


def write(directory: Path) -> list[str]:
    """Write what is different, remove what is no longer made; say which."""
    texts = generated()
    directory.mkdir(exist_ok=True)
    said: list[str] = []
    for path in directory.iterdir():
        if path.name not in texts:
            path.unlink()
            said.append(f"removed {path.name}")
    for name, text in texts.items():
        path = directory / name
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")
            said.append(f"wrote {path.name}")
    return said


if __name__ == "__main__":
    sys.stdout.writelines(f"{line}\n" for line in write(DIRECTORY))
