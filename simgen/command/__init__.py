"""The command line: keys, parsing of arguments, detection of settings without effect, help texts and progress."""
