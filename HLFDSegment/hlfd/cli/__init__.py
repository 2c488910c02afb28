"""The command line: one file per command. ``hlfd COMMAND --help`` describes each."""
