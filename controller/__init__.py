"""The campaign: journal, loop, dispatcher, command line. It alone knows when."""
