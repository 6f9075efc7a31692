//! One contract suite per port: every implementation passes the same.
mod account;
mod agents;
mod logs;
mod records;
mod runtime;
mod schedules;
mod statistics;
mod values;

pub use account::{Prepared, account};
pub use agents::agents;
pub use records::records;
pub use runtime::blobs;
pub use statistics::statistics;
pub use values::{database, environment, log_session, operation, schedule};
