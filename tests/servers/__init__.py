"""Which servers do tests talk to? Real ones on this machine, which can be told to fail."""
