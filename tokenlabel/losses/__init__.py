"""How wrong is a student, given its targets? One loss a file, which tokenlabel exports."""
