"""One store in an SQL database, for all dialects."""
