"""A run: its settings and presets, its folder, and its trained models."""
