"""Run the `shadow` command as `python -m proxy`."""

import gc
import sys

# Nothing of what is imported first is garbage; looking for some takes a tenth of the time of `shadow rollback`.
gc.disable()

from proxy.cli.main import main  # noqa: E402

if __name__ == "__main__":
    sys.exit(main())
