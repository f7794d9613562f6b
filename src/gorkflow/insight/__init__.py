"""What can be told about workflows and runs without running them. Pure functions."""
