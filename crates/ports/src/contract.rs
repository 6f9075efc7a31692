//! One contract suite per port: every implementation passes the same.
mod agents;
mod records;
mod schedules;
mod values;

pub use agents::agents;
pub use records::records;
pub use values::{database, environment, operation, schedule};
