"""How values of each type are kept: as JSON that says by itself what it stands for.

Values may be of any type, and so most variables here are ``Any``. Where a test narrows one, pyright
finds it partly unknown; the modules say that they know.
"""
