"""How are labels shown that are in no store?"""
