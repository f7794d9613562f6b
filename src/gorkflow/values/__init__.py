"""The records of values: JSON that says by itself what it stands for.

Values may be of any type, and so most variables here are ``Any``. If a test narrows one, pyright
finds it partly unknown; the modules silence that.
"""
