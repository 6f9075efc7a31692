//! The words of Kiven.
