"""A real Kubernetes for tests and trials, without Docker (README.md)."""
