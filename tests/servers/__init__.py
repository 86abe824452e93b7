"""Real servers for tests: started on loopback, ended by those who started them."""
