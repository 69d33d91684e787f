"""The client side of the API: connection and calls."""
