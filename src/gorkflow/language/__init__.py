"""The language of steps and workflows: elements, types and options. ``workflow.py`` rests on it."""
