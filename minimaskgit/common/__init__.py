"""What every other file may use: errors, files, the command line and the machine. Imports nothing of ours."""
