"""The shadow runner: mirror journaled exchanges against the shadow database, compare both sides, and keep the shadow aligned."""
