"""The page: runs, workflows, schedules, limits and workers in a browser, and the same as JSON."""
