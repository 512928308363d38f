"""The Helm chart, rendered: `make lint-deploy` runs this folder, which needs an environment of its own for Helm."""
