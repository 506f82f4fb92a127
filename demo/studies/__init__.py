"""Which smaller questions have a study of their own? `make study STUDY=stem` and `make study STUDY=students`."""
