"""How are files written atomically and mapped into memory?"""
