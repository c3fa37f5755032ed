"""Helpers that any file may use: errors, files, the command line and the machine. Imports nothing else of ours."""
