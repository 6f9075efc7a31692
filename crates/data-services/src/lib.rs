//! The data-service interface and its plugins.
