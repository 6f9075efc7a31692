//! Actions.
use super::{ClientCapabilities, Deferred, Diagnostic, DynamicValue};
use prost::Message;

/// PlanAction and InvokeAction ask alike.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct ActionRequest {
    #[prost(string, tag = "1")]
    pub(crate) action_type: String,
    #[prost(message, optional, tag = "2")]
    pub(crate) config: Option<DynamicValue>,
    #[prost(message, optional, tag = "3")]
    pub(crate) client_capabilities: Option<ClientCapabilities>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct PlanActionResponse {
    #[prost(message, repeated, tag = "1")]
    pub(crate) diagnostics: Vec<Diagnostic>,
    #[prost(message, optional, tag = "2")]
    pub(crate) deferred: Option<Deferred>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Progress {
    #[prost(string, tag = "1")]
    pub(crate) message: String,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct InvokeEvent {
    #[prost(oneof = "InvokeEventType", tags = "1, 2")]
    pub(crate) r#type: Option<InvokeEventType>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
pub(crate) enum InvokeEventType {
    #[prost(message, tag = "1")]
    Progress(Progress),
    #[prost(message, tag = "2")]
    Completed(super::DiagnosticsResponse),
}
