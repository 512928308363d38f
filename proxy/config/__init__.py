"""Every section of config.yaml as a type, and the one loader that reads them."""
