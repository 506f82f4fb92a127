"""How is a job watched in a browser? By one page, made of the commit records of its store."""
