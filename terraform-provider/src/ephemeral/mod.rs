//! Ephemeral resources, one file each: what lives for one run and is in no plan and no state.
pub(crate) mod agent_token;
