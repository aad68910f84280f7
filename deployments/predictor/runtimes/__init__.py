"""One module for each framework; frameworks are imported only where a replica needs them."""
