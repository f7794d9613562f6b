"""Durable workflows whose parallel parts run side by side and lose nothing."""
