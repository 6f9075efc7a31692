//! The store: one DynamoDB table, payloads in S3 by digest, doorbell and reports on SQS.
//!
//! Keys of the table (`pk`, `sk`); the indexes are `owned` (lists of an organization) and `due` (64 shards):
//!
//! | item | pk | sk | index |
//! |---|---|---|---|
//! | organization, API key | `ORG#id`, `KEY#id` | `HEAD` | |
//! | environment, database | `ENV#id`, `DB#id` | `HEAD` | owned |
//! | operation's head, input | `OP#id` | `HEAD`, `INPUT` | owned, due |
//! | step, event | `OP#id` | `STEP#key`, `EVENT#n` | |
//! | name | `NAME#kind#scope` | the name | |
//! | schedule | `SCHED#id` | `HEAD` | owned |
//! | a schedule's memory of a database | `DB#id` | `POWER` | due, in partitions of its own |
//! | decision of a schedule | `DB#id` | `POWER#instant#schedule` | |
//! | agent, observation | `ENV#id`, `DB#id` | `AGENT`, `SEEN#cluster` | |
//! | command | `CMD#id` | `HEAD` | |
//! | open command | `CMDS#environment` | `OPEN#n` | due while pending, in partitions of its own |
//! | who serves an environment's agent | `CMDS#environment` | `OWNER` | |
//! | the stop of all upgrades, while there is one | `STOP#UPGRADES` | `HEAD` | |
//! | reader's session on a log, sealed batch | `LOGS#id` | `HEAD`, `BATCH#n` | owned until it is closed |
//!
//! `expires_at` is the table's time to live: of everything about operations that are over and databases that are gone.

mod agents;
mod blobs;
mod item;
mod logs;
mod names;
mod packs;
mod queue;
mod records;
mod schedules;
mod schema;
mod stop;

use aws_sdk_dynamodb::Client;

pub use agents::COMMAND_SHARDS_MAX;
pub use blobs::S3Blobs;
pub use packs::S3Packs;
pub use queue::{DELAY_SECONDS_MAX, Queue, SqsDoorbell};
pub use schema::{bucket_ensure, table_ensure};

use crate::Sdk;

/// Shards of the due index: enough that no partition is hot at thousands of operations a second.
pub const DUE_SHARDS: u32 = 64;

/// Where the store keeps things.
#[derive(Clone, Debug)]
pub struct StoreConfig {
    /// The table.
    pub table: String,
    /// The bucket of payloads.
    pub bucket: String,
    /// Shards of the due index; [`DUE_SHARDS`], fewer on one machine. Never lower it while operations run.
    pub due_shards: u32,
}

/// Records and agents on DynamoDB.
#[derive(Clone, Debug)]
pub struct Store {
    client: Client,
    table: String,
    due_shards: u32,
    blobs: S3Blobs,
}

impl Store {
    /// A store over existing tables and buckets.
    #[must_use]
    pub fn new(sdk: &Sdk, config: &StoreConfig) -> Self {
        Self { client: sdk.dynamodb(), table: config.table.clone(), due_shards: config.due_shards.max(1), blobs: S3Blobs::new(sdk, &config.bucket) }
    }
}
