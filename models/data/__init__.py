"""Tables that ship with the models; see README.md here."""
