"""Public checks of Task 2.4."""
