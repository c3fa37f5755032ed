"""A run: its settings, its folder and its trained models."""
