//! The traits between thinking and doing.
