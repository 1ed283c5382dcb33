"""From targets to orders, fills and accounts."""
