"""Traffic files: read recordings of other programs and write ours in their formats."""
