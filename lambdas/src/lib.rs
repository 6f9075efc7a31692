//! What the functions share: configuration, the ports as deployed, logs, metrics, traces.
//!
//! Invariants: a function is thin; it parses its configuration once and names everything that is missing together; each piece of
//! work ends with one wide event, and the function with what is left to tell.
mod agent_tokens;
pub mod authority;
pub mod config;
pub mod drive;
pub mod enrol;
pub mod observe;
pub mod records;
pub mod reports;
pub mod requests;
pub mod stop;
pub mod telemetry;
pub mod trace;
pub mod worker;
pub mod world;

pub use config::{Config, Function};
pub use observe::Observer;
pub use world::World;
