//! State stores.
use super::{Diagnostic, DynamicValue};
use prost::Message;

/// The chunk size that the client suggests, and that the provider answers.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct StateStoreCapabilities {
    #[prost(int64, tag = "1")]
    pub(crate) chunk_size: i64,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct ConfigureStateStoreRequest {
    #[prost(string, tag = "1")]
    pub(crate) type_name: String,
    #[prost(message, optional, tag = "2")]
    pub(crate) config: Option<DynamicValue>,
    #[prost(message, optional, tag = "3")]
    pub(crate) capabilities: Option<StateStoreCapabilities>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct ConfigureStateStoreResponse {
    #[prost(message, repeated, tag = "1")]
    pub(crate) diagnostics: Vec<Diagnostic>,
    #[prost(message, optional, tag = "2")]
    pub(crate) capabilities: Option<StateStoreCapabilities>,
}

/// ReadStateBytes and DeleteState ask alike; GetStates leaves the id out.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct StateRequest {
    #[prost(string, tag = "1")]
    pub(crate) type_name: String,
    #[prost(string, tag = "2")]
    pub(crate) state_id: String,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct StateByteRange {
    #[prost(int64, tag = "1")]
    pub(crate) start: i64,
    #[prost(int64, tag = "2")]
    pub(crate) end: i64,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct ReadStateChunk {
    #[prost(bytes = "vec", tag = "1")]
    pub(crate) bytes: Vec<u8>,
    #[prost(int64, tag = "2")]
    pub(crate) total_length: i64,
    #[prost(message, optional, tag = "3")]
    pub(crate) range: Option<StateByteRange>,
    #[prost(message, repeated, tag = "4")]
    pub(crate) diagnostics: Vec<Diagnostic>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct WriteStateChunk {
    /// With the first chunk only.
    #[prost(message, optional, tag = "1")]
    pub(crate) meta: Option<StateRequest>,
    #[prost(bytes = "vec", tag = "2")]
    pub(crate) bytes: Vec<u8>,
    #[prost(int64, tag = "3")]
    pub(crate) total_length: i64,
    #[prost(message, optional, tag = "4")]
    pub(crate) range: Option<StateByteRange>,
}

/// LockState gives the operation in field 3, UnlockState the lock's id.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct LockRequest {
    #[prost(string, tag = "1")]
    pub(crate) type_name: String,
    #[prost(string, tag = "2")]
    pub(crate) state_id: String,
    #[prost(string, tag = "3")]
    pub(crate) operation_or_lock: String,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct LockResponse {
    #[prost(string, tag = "1")]
    pub(crate) lock_id: String,
    #[prost(message, repeated, tag = "2")]
    pub(crate) diagnostics: Vec<Diagnostic>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct StatesResponse {
    #[prost(string, repeated, tag = "1")]
    pub(crate) state_ids: Vec<String>,
    #[prost(message, repeated, tag = "2")]
    pub(crate) diagnostics: Vec<Diagnostic>,
}
