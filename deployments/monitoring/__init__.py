"""What the fleet finds out about the data that it is asked about."""
