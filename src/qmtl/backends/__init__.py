"""Who keeps the promises of the ports: one driver, one file."""
