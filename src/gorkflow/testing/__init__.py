"""Help for tests: of workflows, and of stores."""
