//! Organizations, API keys and roles.
use crate::OrganizationId;
use crate::ids::ApiKeyId;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// What the holder of a key may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Reads.
    Viewer,
    /// Also turns power on and off.
    Operator,
    /// Also makes and destroys.
    Admin,
    /// Also manages keys and the organization.
    Owner,
}

impl Role {
    /// Every role, the smallest first.
    pub const ALL: [Role; 4] = [Self::Viewer, Self::Operator, Self::Admin, Self::Owner];
    /// The word as customers see it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Operator => "operator",
            Self::Admin => "admin",
            Self::Owner => "owner",
        }
    }
}

/// The record of an organization.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Organization {
    /// Its id.
    pub id: OrganizationId,
    /// Its name.
    pub name: String,
}

/// The record of an API key. The key itself is `kiven_{key id body}_{secret}`; only a SHA-256 of it is stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApiKey {
    /// The public half.
    pub id: ApiKeyId,
    /// Whose it is.
    pub organization_id: OrganizationId,
    /// What it may do.
    pub role: Role,
    /// SHA-256 of the whole key, hexadecimal. The secret half has 160 random bits, so a slow hash would add nothing.
    pub key_sha256: String,
    /// From when it is refused.
    pub expires_at: Option<Timestamp>,
}

/// Splits a presented key into its public id.
#[must_use]
pub fn api_key_id(presented: &str) -> Option<ApiKeyId> {
    let (body, _secret) = presented.strip_prefix("kiven_")?.split_once('_')?;
    ApiKeyId::parse(&format!("{}_{body}", ApiKeyId::PREFIX)).ok()
}

/// Writes a key from its id and its secret half.
#[must_use]
pub fn api_key_text(id: &ApiKeyId, secret: &str) -> String {
    format!("kiven_{}_{secret}", id.short(20))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_names_its_id() {
        let id = ApiKeyId::from_random([9; 16]);
        assert_eq!(api_key_id(&api_key_text(&id, "s3cret")), Some(id));
        for wrong in ["", "kiven_", "kiven_abc_def", "other_x_y"] {
            assert_eq!(api_key_id(wrong), None);
        }
    }
}
