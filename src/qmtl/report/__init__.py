"""Results of runs: accounts, metrics, files, comparison and the page that shows them."""
