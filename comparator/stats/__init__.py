"""Statistics of verdicts: confidence sequences (`confidence`) and a quantile sketch (`quantile_sketch`). Pure."""
