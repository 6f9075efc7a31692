//! How agents prove that they are an environment's, and what they get for it.
use crate::EnvironmentId;
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use std::fmt;

/// How long the first token is good: the time between making it and the agent's start.
pub const FIRST_TOKEN_MINUTES: i64 = 60;
/// How long each token after it is good: an agent that was away for longer needs a new first one.
pub const NEXT_TOKEN_DAYS: i64 = 30;
/// How long before its signing a certificate is good from: clocks may be so far apart.
pub const CERTIFICATE_BACKDATED: SignedDuration = SignedDuration::from_mins(5);
/// What every token begins with, so that a scan for secrets knows it.
const TOKEN_PREFIX: &str = "kiven_agent_";
/// Characters of a SHA-256 in hexadecimal.
const DIGEST_LENGTH: usize = 64;

/// What an environment's agents prove themselves with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum AgentEnrolment {
    /// A ServiceAccount token of their cluster, checked against the issuer that EKS names.
    #[default]
    Issuer,
    /// A single-use token, where nobody outside can ask the cluster's issuer.
    Token,
}

impl AgentEnrolment {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Issuer, Self::Token];
    /// The word as written in HCL.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Issuer => "issuer",
            Self::Token => "token",
        }
    }
    /// Reads the word.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|one| one.as_str() == text)
    }
    /// Whether it is what nobody has to say.
    #[must_use]
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// A single-use token as it is kept: its SHA-256, never the token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AgentToken {
    /// SHA-256 of the token, hexadecimal; of 256 random bits, so that it tells nothing.
    pub sha256: String,
    /// Whose agent may enrol with it.
    pub environment_id: EnvironmentId,
    /// The API key that asked for it, or the agent itself.
    pub created_by: String,
    /// When it was made.
    pub created_at: Timestamp,
    /// From when it is worthless.
    pub expires_at: Timestamp,
}

/// Writes a token from its random bits.
#[must_use]
pub fn agent_token_text(bits: [[u8; 16]; 2]) -> String {
    let digits: String = bits.iter().flatten().map(|byte| format!("{byte:02x}")).collect();
    format!("{TOKEN_PREFIX}{digits}")
}

/// Whether a text is a SHA-256 in hexadecimal, as [`AgentToken::sha256`] holds it.
#[must_use]
pub fn is_digest(text: &str) -> bool {
    text.len() == DIGEST_LENGTH && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}

/// A new token: the only time that it is seen.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct AgentTokenView {
    /// What revokes it; not secret.
    pub id: String,
    /// The token itself. Kiven does not keep it.
    pub token: String,
    /// From when it is worthless.
    pub expires_at: Timestamp,
}

impl fmt::Debug for AgentTokenView {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AgentTokenView").field("id", &self.id).field("expires_at", &self.expires_at).finish_non_exhaustive()
    }
}

/// A single-use token and the one that takes its place.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AgentTokenUse {
    /// The token.
    pub token: String,
    /// SHA-256 of the next one, hexadecimal: the agent makes it, and only the agent ever has it.
    pub next_sha256: String,
}

impl fmt::Debug for AgentTokenUse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AgentTokenUse").finish_non_exhaustive()
    }
}

/// An agent asks for a certificate, with one proof.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EnrolRequest {
    /// Which environment it serves.
    pub environment_id: EnvironmentId,
    /// A projected ServiceAccount token with audience `kiven`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service_account_token: Option<String>,
    /// A single-use token, in environments that say so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent_token: Option<AgentTokenUse>,
    /// PEM certificate signing request; only its public key is taken over.
    pub certificate_request: String,
}

/// A short-lived certificate for an agent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EnrolResponse {
    /// The agent's certificate, PEM.
    pub certificate: String,
    /// What the relay's certificate is verified with, PEM.
    pub authority: String,
    /// From when it is worthless.
    pub expires_at: Timestamp,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_256_bits_and_is_never_printed() {
        let token = agent_token_text([[0xab; 16], [0x01; 16]]);
        assert_eq!(token, format!("kiven_agent_{}{}", "ab".repeat(16), "01".repeat(16)));
        let view = AgentTokenView { id: "i".to_owned(), token: token.clone(), expires_at: Timestamp::UNIX_EPOCH };
        let used = AgentTokenUse { token: token.clone(), next_sha256: "n".to_owned() };
        assert!(!format!("{view:?}{used:?}").contains(&token));
    }

    #[test]
    fn a_digest_is_sixty_four_lower_case_digits() {
        assert!(is_digest(&"0a".repeat(32)));
        for wrong in ["", "0a", &"0A".repeat(32), &"0g".repeat(32), &"0a".repeat(33)] {
            assert!(!is_digest(wrong), "{wrong}");
        }
    }
}
