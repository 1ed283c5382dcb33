"""What every row of the benchmark shares: environments, data, the race, the table."""
