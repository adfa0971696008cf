"""Hidden checks of Task 2.3."""
