"""The command line's groups; each file is one group of commands of `pipeline-platform`."""
