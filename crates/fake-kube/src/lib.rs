//! A small Kubernetes API server.
