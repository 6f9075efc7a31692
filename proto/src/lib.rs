//! The contract between relay and agent.
