//! What Kiven does, one file an operation.
