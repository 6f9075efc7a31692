//! Typed ids: `db_` and 20 characters of lowercase base 32, 100 bits of randomness given from outside.
use serde::{Deserialize, Serialize};
use std::fmt;

/// Crockford's alphabet in lowercase: no i, l, o, u, so ids survive being read aloud.
const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";
/// Characters after the prefix.
const BODY: usize = 20;

/// An id that is not one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not an id of the form `{prefix}_` and 20 characters of 0-9, a-z without i, l, o, u")]
pub struct IdError {
    /// What was given.
    pub text: String,
    /// What it should begin with.
    pub prefix: &'static str,
}

fn body_of(random: [u8; 16]) -> String {
    let bits = u128::from_be_bytes(random);
    (0..BODY).map(|i| char::from(ALPHABET[((bits >> (5 * i)) & 31) as usize])).collect()
}

fn parse(text: &str, prefix: &'static str) -> Result<String, IdError> {
    let wrong = || IdError { text: text.chars().take(64).collect(), prefix };
    let body = text.strip_prefix(prefix).and_then(|rest| rest.strip_prefix('_')).ok_or_else(wrong)?;
    if body.len() != BODY || !body.bytes().all(|b| ALPHABET.contains(&b)) {
        return Err(wrong());
    }
    Ok(text.to_owned())
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $prefix:literal) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        #[cfg(feature = "schema")]
        crate::schema::text!(
            $name,
            stringify!($name),
            concat!("`", $prefix, "_` and 20 characters of 0-9 and a-z without i, l, o and u."),
            concat!("^", $prefix, "_[0-9a-hjkmnp-tv-z]{20}$"),
            concat!($prefix, "_0123456789abcdefghjk")
        );

        impl $name {
            /// The prefix of this kind of id.
            pub const PREFIX: &'static str = $prefix;
            /// Makes an id from 128 random bits, of which it uses 100.
            #[must_use]
            pub fn from_random(random: [u8; 16]) -> Self {
                Self(format!("{}_{}", $prefix, body_of(random)))
            }
            /// Reads an id.
            ///
            /// # Errors
            /// When the text has another prefix, length or alphabet.
            pub fn parse(text: &str) -> Result<Self, IdError> {
                parse(text, $prefix).map(Self)
            }
            /// The whole id.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
            /// The first `characters` of the random part, for names with a length limit.
            #[must_use]
            pub fn short(&self, characters: usize) -> &str {
                let start = $prefix.len() + 1;
                &self.0[start..start + characters.min(BODY)]
            }
        }
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
        impl TryFrom<String> for $name {
            type Error = IdError;
            fn try_from(text: String) -> Result<Self, IdError> {
                Self::parse(&text)
            }
        }
        impl From<$name> for String {
            fn from(id: $name) -> String {
                id.0
            }
        }
        impl std::str::FromStr for $name {
            type Err = IdError;
            fn from_str(text: &str) -> Result<Self, IdError> {
                Self::parse(text)
            }
        }
    };
}

id!(/// Who pays and who is isolated from whom.
    OrganizationId, "org");
id!(/// One connected EKS cluster.
    EnvironmentId, "env");
id!(/// One managed PostgreSQL in an environment.
    DatabaseId, "db");
id!(/// One durable change.
    OperationId, "op");
id!(/// A power schedule.
    ScheduleId, "sched");
id!(/// A reader's session on a database's log.
    LogSessionId, "logs");
id!(/// An API key's public half; the secret half is stored only as a hash.
    ApiKeyId, "key");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_survives_its_text() {
        let id = DatabaseId::from_random([7; 16]);
        assert_eq!(DatabaseId::parse(id.as_str()).unwrap(), id);
        assert_eq!(id.short(6).len(), 6);
        assert!(id.as_str().ends_with(id.short(20)));
    }

    #[test]
    fn another_prefix_length_or_alphabet_is_refused() {
        let id = DatabaseId::from_random([7; 16]).to_string();
        for wrong in [id.replace("db_", "env_"), id.replace("db_", "db"), format!("{id}0"), id[..id.len() - 1].to_owned() + "l", String::new()] {
            assert!(DatabaseId::parse(&wrong).is_err(), "{wrong}");
        }
    }
}
