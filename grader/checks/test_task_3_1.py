"""Public checks of Task 3.1."""
