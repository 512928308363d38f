"""Group like mismatches into findings, and propose rules from an A/A run. Pure."""
