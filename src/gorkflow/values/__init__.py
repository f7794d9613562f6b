"""How values of each type are kept: as JSON that says by itself what it stands for."""
