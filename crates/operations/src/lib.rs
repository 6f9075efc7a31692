//! What Kiven does, one file an operation, named as customers see it; each line of a body is one durable step.
//!
//! Invariants of this crate: it names no cloud SDK, no kube, no tokio; effects happen in steps only; every step says its undo.
mod accept;
mod accept_disconnect;
mod accept_undelete;
mod change;
mod check;
mod connect;
mod delete;
mod disconnect;
mod dispatch;
mod input;
mod maintain;
mod orphans;
mod patch_nodes;
mod pause;
mod placement;
mod provision;
mod purge;
mod resume;
mod rotate_certificates;
mod settle;
pub mod steps;
mod sweep;
mod tick;
mod undelete;

pub use accept::{Accepted, accept_connect, accept_database, access_of};
pub use accept_disconnect::{accept_disconnect, refuse_farewell};
pub use accept_undelete::accept_undelete;
pub use change::Change;
pub use check::check;
pub use connect::Connect;
pub use delete::Delete;
pub use disconnect::Disconnect;
pub use dispatch::drive_any;
pub use input::{ConnectInput, DatabaseInput, DisconnectInput, EksCluster};
pub use maintain::maintain;
pub use orphans::{Known, orphans};
pub use patch_nodes::PatchNodes;
pub use pause::Pause;
pub use provision::Provision;
pub use purge::Purge;
pub use resume::Resume;
pub use rotate_certificates::RotateCertificates;
pub use sweep::{ring_schedules, tick_all};
pub use tick::{Ticked, tick};
pub use undelete::Undelete;
