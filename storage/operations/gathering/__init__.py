"""How is a store made of the labels of others, bit for bit? By merging them, or by selecting some of their pictures."""
