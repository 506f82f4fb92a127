"""Which keys are valid, and how is the row of a key found?"""
