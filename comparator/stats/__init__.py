"""Statistics of verdicts: confidence sequences and a quantile sketch. Pure."""
