//! Operations that survive anything.
