//! What every call brings beside its values, and what every answer may say beside them.
use crate::{Stop, Value, wire};

/// What the client can do beyond the protocol's first version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Client {
    /// It takes "later" for an answer: see [`Deferred`].
    pub deferral_allowed: bool,
    /// It keeps write-only values out of plan and state.
    pub write_only_allowed: bool,
}

impl Client {
    pub(crate) fn from_wire(sent: Option<&wire::ClientCapabilities>) -> Self {
        sent.map_or_else(Self::default, |sent| Self {
            deferral_allowed: sent.deferral_allowed,
            write_only_allowed: sent.write_only_attributes_allowed,
        })
    }
}

/// The circumstances of a call.
#[derive(Debug, Clone, Default)]
pub struct Call {
    /// Cancelled when the person at the terminal interrupts: whoever waits should answer with what is known.
    pub stop: Stop,
    /// What the resource has left beside the state or plan.
    pub private: Vec<u8>,
    /// What the module says in `provider_meta`; null without.
    pub meta: Value,
    /// The identity that the state carries; null before there is one.
    pub identity: Value,
    /// What the client can do.
    pub client: Client,
}

/// Why something cannot be planned yet. Clients that do not know deferral get the plan as far as it is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deferred {
    /// The resource's configuration is not known far enough.
    ResourceConfigUnknown,
    /// The provider's configuration is not known.
    ProviderConfigUnknown,
    /// Something that must be there first is not there yet.
    AbsentPrerequisite,
}

impl Deferred {
    /// Deferral as the client takes it: nothing for one that does not know it.
    pub(crate) fn to_wire(asked: Option<Self>, client: Client) -> Option<wire::Deferred> {
        let reason = match asked.filter(|_| client.deferral_allowed)? {
            Self::ResourceConfigUnknown => 1,
            Self::ProviderConfigUnknown => 2,
            Self::AbsentPrerequisite => 3,
        };
        Some(wire::Deferred { reason })
    }
}
