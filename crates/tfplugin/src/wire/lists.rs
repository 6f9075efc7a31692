//! List resources.
use super::{Diagnostic, DynamicValue, IdentityData};
use prost::Message;

#[derive(Clone, PartialEq, Message)]
pub(crate) struct ListRequest {
    #[prost(string, tag = "1")]
    pub(crate) type_name: String,
    #[prost(message, optional, tag = "2")]
    pub(crate) config: Option<DynamicValue>,
    #[prost(bool, tag = "3")]
    pub(crate) include_resource_object: bool,
    #[prost(int64, tag = "4")]
    pub(crate) limit: i64,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct ListEvent {
    #[prost(message, optional, tag = "1")]
    pub(crate) identity: Option<IdentityData>,
    #[prost(string, tag = "2")]
    pub(crate) display_name: String,
    #[prost(message, optional, tag = "3")]
    pub(crate) resource_object: Option<DynamicValue>,
    #[prost(message, repeated, tag = "4")]
    pub(crate) diagnostic: Vec<Diagnostic>,
}
