//! The words of Kiven: one type per thing, from HCL to DynamoDB.
//!
//! Invariants of this crate:
//! - pure: no I/O, no async, no clock, no randomness; everything is a function over values;
//! - what is parsed stays parsed: a [`names::DatabaseName`] or [`Valid`] cannot hold a wrong value;
//! - nothing here ever holds a password.
pub mod api;
pub mod change;
pub mod command;
pub mod database;
pub mod enrolment;
pub mod environment;
pub mod event;
pub mod fit;
pub mod ids;
pub mod inspection;
pub mod lifecycle;
pub mod logs;
pub mod maintenance;
pub mod names;
pub mod operation;
pub mod operators;
pub mod organization;
pub mod parameters;
pub mod plan;
pub mod preflight;
pub mod price;
pub mod problem;
pub mod relay;
pub mod report;
pub mod request;
pub mod runbook;
pub mod schedule;
pub mod schema;
pub mod sizing;
pub mod statement;
pub mod statistics;
pub mod upgrade;
pub mod uri;

pub use ids::{DatabaseId, EnvironmentId, LogSessionId, OperationId, OrganizationId, ScheduleId};
pub use problem::{Code, Problem, Violation};
pub use request::Valid;
