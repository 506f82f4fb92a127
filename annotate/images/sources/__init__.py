"""Which kinds of collections can be read? One file for each, one line for each in annotate/images/address.py."""
