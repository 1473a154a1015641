"""Looking at a running process: dumps, and the admin plane that serves them."""
