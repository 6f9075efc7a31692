//! Reading PostgreSQL's log lines live: a reader's session, and what is passed on to it, sealed so that only the reader opens it.
//!
//! Kiven carries what the agent seals and cannot read it. What of a session is not sealed: which database, who reads, how much.
use crate::{Code, DatabaseId, EnvironmentId, LogSessionId, OperationId, OrganizationId, Violation};
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

/// Longest session; a reader who wants more opens another.
pub const SESSION_MINUTES_MAX: i64 = 60;
/// For how long an agent reads on after it was last told that somebody still reads.
pub const LEASE: SignedDuration = SignedDuration::from_secs(60);
/// How often an agent is told so, while the reader asks.
pub const RENEWAL: SignedDuration = SignedDuration::from_secs(20);
/// Open sessions of one database.
pub const SESSIONS_PER_DATABASE_MAX: usize = 2;
/// Open sessions of one environment: with a batch a second each they stay below what a relay takes from one agent.
pub const SESSIONS_PER_ENVIRONMENT_MAX: usize = 4;
/// Largest batch before it is sealed, in bytes.
pub const BATCH_BYTES_MAX: usize = 16 * 1024;
/// Largest batch as it is sealed: base64 of encapsulated key, lines, header and tag. An item holds 32 KiB inline.
pub const SEALED_BYTES_MAX: usize = 24 * 1024;
/// Most bytes of lines in one session.
pub const SESSION_BYTES_MAX: u64 = 32 * 1024 * 1024;
/// Most batches in one answer.
pub const BATCHES_MAX: usize = 20;
/// How far back a session may begin.
pub const SINCE_SECONDS_MAX: u32 = 24 * 3600;
/// How long batches are kept after the end of their session, at least; DynamoDB takes them away some time later.
pub const KEPT_MINUTES: i64 = 10;
/// Hexadecimal characters of an X25519 key and of an Ed25519 signature.
const KEY_CHARACTERS: usize = 64;
const SIGNATURE_CHARACTERS: usize = 128;
/// What every Ed25519 key's SubjectPublicKeyInfo begins with in base64.
const PUBLIC_KEY_PREFIX: &str = "MCowBQYDK2VwAyEA";
/// Longest name of an instance.
const INSTANCE_CHARACTERS_MAX: usize = 63;

/// How serious a line is, the least first. PostgreSQL puts LOG above ERROR for its own log; for people it is below WARNING.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum LogSeverity {
    /// DEBUG1 to DEBUG5.
    #[default]
    Debug,
    /// LOG.
    Log,
    /// INFO.
    Info,
    /// NOTICE.
    Notice,
    /// WARNING.
    Warning,
    /// ERROR: a statement failed.
    Error,
    /// FATAL: a session ended.
    Fatal,
    /// PANIC: every session ended.
    Panic,
}

impl LogSeverity {
    /// Every severity, the least first.
    pub const ALL: [Self; 8] = [Self::Debug, Self::Log, Self::Info, Self::Notice, Self::Warning, Self::Error, Self::Fatal, Self::Panic];
    /// The word as people write it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Debug => "debug",
            Self::Log => "log",
            Self::Info => "info",
            Self::Notice => "notice",
            Self::Warning => "warning",
            Self::Error => "error",
            Self::Fatal => "fatal",
            Self::Panic => "panic",
        }
    }
    /// Reads a word of PostgreSQL's or of people's; a severity that nobody knows is a LOG.
    #[must_use]
    pub fn read(text: &str) -> Self {
        let is = |one: &Self| text.get(..one.as_str().len()).is_some_and(|word| word.eq_ignore_ascii_case(one.as_str()));
        Self::ALL.into_iter().find(is).unwrap_or(Self::Log)
    }
}

/// Which lines are read.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct LogFilter {
    /// Only this instance: its pod's name, or the number at its end. All when it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(regex(pattern = r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$")))]
    pub instance: Option<String>,
    /// Only lines that are at least so serious.
    #[serde(default)]
    pub severity: LogSeverity,
    /// Lines of the last so many seconds too; at most a day.
    #[serde(default)]
    #[cfg_attr(feature = "schema", schemars(range(max = 86_400)))]
    pub since_seconds: u32,
    /// Whether lines are read as they are written; without it the session ends with the last one that is there.
    #[serde(default)]
    pub follow: bool,
}

impl LogFilter {
    /// Whether the lines of a pod are wanted.
    #[must_use]
    pub fn wants(&self, pod: &str) -> bool {
        let is = |wanted: &str| pod == wanted || pod.rsplit_once('-').is_some_and(|(_, serial)| serial == wanted);
        self.instance.as_deref().is_none_or(is)
    }
}

/// A key of the customer says that a reader's key is good for one session.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct ReaderCertificate {
    /// The customer's Ed25519 public key: base64 of its SubjectPublicKeyInfo, as it stands in a PEM file and in `trustedReaders`.
    #[cfg_attr(feature = "schema", schemars(regex(pattern = r"^MCowBQYDK2VwAyEA[A-Za-z0-9+/]{43}=$")))]
    pub public_key: String,
    /// The signature over database, session, reader's key and end, hexadecimal.
    #[cfg_attr(feature = "schema", schemars(regex(pattern = r"^[0-9a-f]{128}$")))]
    pub signature: String,
}

/// What a reader asks for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct LogSessionRequest {
    /// Whose log.
    pub database_id: DatabaseId,
    /// The reader's X25519 public key, hexadecimal: what is read is sealed to it.
    #[cfg_attr(feature = "schema", schemars(regex(pattern = r"^[0-9a-f]{64}$")))]
    pub reader_key: String,
    /// When the session ends at the latest, in whole seconds since 1970; an hour from now when it is left out.
    #[serde(default)]
    pub expires_at_seconds: Option<i64>,
    /// The customer's word for the reader's key, where the agent's `trustedReaders` demand one. It covers `expires_at_seconds`.
    #[serde(default)]
    pub certificate: Option<ReaderCertificate>,
    /// Which lines.
    #[serde(default)]
    pub filter: LogFilter,
}

/// What the customer's key signs: that this reader may read this database in this session until then.
#[must_use]
pub fn statement(database: &DatabaseId, session: &LogSessionId, reader_key: &str, expires_at_seconds: i64) -> String {
    format!("kiven log reader v1\n{database}\n{session}\n{reader_key}\n{expires_at_seconds}\n")
}

fn is_hexadecimal(text: &str, characters: usize) -> bool {
    text.len() == characters && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}

/// Whether a text may be an Ed25519 key's SubjectPublicKeyInfo in base64; whether it is one is the agent's to see.
fn is_public_key(text: &str) -> bool {
    let inner = text.strip_prefix(PUBLIC_KEY_PREFIX).and_then(|rest| rest.strip_suffix('='));
    inner.is_some_and(|inner| inner.len() == 43 && inner.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'+' || b == b'/'))
}

/// Whether a text is a name as Kubernetes has them.
fn is_instance(name: &str) -> bool {
    let inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    !name.is_empty() && name.len() <= INSTANCE_CHARACTERS_MAX && name.bytes().all(inner) && !name.starts_with('-') && !name.ends_with('-')
}

impl LogSessionRequest {
    /// When it ends, once it is seen to be valid.
    ///
    /// # Errors
    /// Every rule that it breaks.
    pub fn ends(&self, now: Timestamp) -> Result<Timestamp, Vec<Violation>> {
        let mut broken = Vec::new();
        let mut breaks = |field: &str, message: &str, hint: &str| {
            broken.push(Violation::new(Code::LOG_SESSION_INVALID, field, message, hint));
        };
        if !is_hexadecimal(&self.reader_key, KEY_CHARACTERS) {
            breaks("reader_key", "it is no X25519 public key", "64 hexadecimal characters; `kiven logs` makes one for each session.");
        }
        let latest = now + SignedDuration::from_mins(SESSION_MINUTES_MAX);
        let asked = self.expires_at_seconds.map(Timestamp::from_second);
        let ends = match asked {
            None => Some(Timestamp::from_second(latest.as_second()).unwrap_or(latest)),
            Some(Ok(at)) if at > now && at <= latest => Some(at),
            Some(_) => None,
        };
        if ends.is_none() {
            breaks("expires_at_seconds", "it is not within the next hour", "Ask for less, and open another session when it has ended.");
        }
        if let Some(certificate) = &self.certificate {
            if !is_public_key(&certificate.public_key) {
                breaks("certificate.public_key", "it is no Ed25519 public key", "As it stands between the lines of a PEM file.");
            }
            if !is_hexadecimal(&certificate.signature, SIGNATURE_CHARACTERS) {
                breaks("certificate.signature", "it is no Ed25519 signature", "128 hexadecimal characters; `kiven logs --reader-key FILE` signs.");
            }
            if self.expires_at_seconds.is_none() {
                breaks("expires_at_seconds", "a certificate needs it", "It is part of what is signed.");
            }
        }
        if self.filter.instance.as_ref().is_some_and(|name| !is_instance(name)) {
            breaks("filter.instance", "it is no instance", "A pod's name, or the number at its end.");
        }
        if self.filter.since_seconds > SINCE_SECONDS_MAX {
            breaks("filter.since_seconds", "it is more than a day", "At most 86400.");
        }
        match ends {
            Some(ends) if broken.is_empty() => Ok(ends),
            _ => Err(broken),
        }
    }
}

/// What an agent is told to read, and to whom it seals.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogReading {
    /// The session.
    pub session_id: LogSessionId,
    /// The reader's X25519 public key, hexadecimal.
    pub reader_key: String,
    /// The customer's word for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate: Option<ReaderCertificate>,
    /// Which lines.
    pub filter: LogFilter,
    /// When the session ends at the latest.
    pub expires_at: Timestamp,
    /// When it ends unless the agent is told again.
    pub lease_until: Timestamp,
}

/// One batch on its way from the agent to the reader: nothing in it can be read by anybody else.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct SealedBatch {
    /// The session.
    pub session_id: LogSessionId,
    /// Whose log.
    pub database_id: DatabaseId,
    /// Grows with each batch of a session; not without gaps.
    pub sequence: u64,
    /// Encapsulated key and ciphertext (RFC 9180: DHKEM X25519 HKDF-SHA256, HKDF-SHA256, ChaCha20-Poly1305), base64.
    pub sealed: String,
}

/// What stands in front of a batch's lines, inside of the seal.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct BatchHeader {
    /// The sequence of the batch before it; 0 for the first. A reader sees by it that one is missing.
    pub previous: u64,
    /// Lines that were there and are not in any batch, because there were too many, since the batch before.
    #[serde(default)]
    pub dropped: u64,
    /// Why there is no other batch after this one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended: Option<String>,
}

/// The record of a session.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogSession {
    /// Its id, made by the reader.
    pub id: LogSessionId,
    /// Whose log.
    pub database_id: DatabaseId,
    /// In which environment.
    pub environment_id: EnvironmentId,
    /// Of which organization.
    pub organization_id: OrganizationId,
    /// What was asked for.
    pub request: LogSessionRequest,
    /// Who reads: an opaque actor.
    pub opened_by: String,
    /// When it was opened.
    pub opened_at: Timestamp,
    /// When it ends at the latest.
    pub expires_at: Timestamp,
    /// When the agent was last told that somebody reads.
    pub renewed_at: Timestamp,
    /// How often it was told.
    pub renewals: u32,
    /// Whether the reader has said that it is over.
    pub closed: bool,
    /// Fences writes: each adds one.
    pub version: u64,
}

impl LogSession {
    /// Whether batches are taken and the agent is told to go on.
    #[must_use]
    pub fn open_at(&self, now: Timestamp) -> bool {
        !self.closed && now < self.expires_at
    }
    /// Whether an agent may still be reading for it.
    #[must_use]
    pub fn read_at(&self, now: Timestamp) -> bool {
        self.open_at(now) && now < self.renewed_at + LEASE
    }
    /// What the agent is told.
    #[must_use]
    pub fn reading(&self) -> LogReading {
        LogReading {
            session_id: self.id.clone(),
            reader_key: self.request.reader_key.clone(),
            certificate: self.request.certificate.clone(),
            filter: self.request.filter.clone(),
            expires_at: self.expires_at,
            lease_until: self.expires_at.min(self.renewed_at + LEASE),
        }
    }
    /// Whom the commands of a session name as the one that asks: no operation has this id.
    #[must_use]
    pub fn asker(id: &LogSessionId) -> OperationId {
        // The same 100 bits under the other prefix.
        OperationId::parse(&format!("{}_{}", OperationId::PREFIX, id.short(20))).unwrap_or_else(|_| OperationId::from_random([0; 16]))
    }
}

/// A session as its reader sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct LogSessionView {
    /// Its id.
    pub id: LogSessionId,
    /// Whose log.
    pub database_id: DatabaseId,
    /// When it ends at the latest.
    pub expires_at: Timestamp,
}

/// What has come since a batch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct LogBatches {
    /// At most 20, by sequence.
    pub batches: Vec<SealedBatch>,
    /// When to ask again, in milliseconds.
    pub retry_after_ms: u64,
    /// Why no other batch will come; what is already here is still answered.
    pub ended: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request() -> LogSessionRequest {
        LogSessionRequest {
            database_id: DatabaseId::from_random([2; 16]),
            reader_key: "0a".repeat(32),
            expires_at_seconds: None,
            certificate: None,
            filter: LogFilter::default(),
        }
    }

    fn check(change: impl FnOnce(&mut LogSessionRequest), field: Option<&str>) {
        let mut asked = request();
        change(&mut asked);
        let broken = asked.ends(Timestamp::UNIX_EPOCH).map_err(|all| all[0].field.clone());
        assert_eq!(broken.err().as_deref(), field);
    }

    #[test]
    fn each_rule_names_its_field() {
        let certificate = || ReaderCertificate {
            public_key: "MCowBQYDK2VwAyEA11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=".to_owned(),
            signature: "0a".repeat(64),
        };
        check(|_| {}, None);
        check(|asked| asked.reader_key = "0A".repeat(32), Some("reader_key"));
        check(|asked| asked.reader_key.push('0'), Some("reader_key"));
        check(|asked| asked.expires_at_seconds = Some(3600), None);
        check(|asked| asked.expires_at_seconds = Some(3601), Some("expires_at_seconds"));
        check(|asked| asked.expires_at_seconds = Some(0), Some("expires_at_seconds"));
        check(|asked| asked.expires_at_seconds = Some(i64::MAX), Some("expires_at_seconds"));
        check(|asked| asked.certificate = Some(certificate()), Some("expires_at_seconds"));
        check(|asked| (asked.certificate, asked.expires_at_seconds) = (Some(certificate()), Some(60)), None);
        check(|asked| asked.filter.instance = Some("shop 1".to_owned()), Some("filter.instance"));
        check(|asked| asked.filter.since_seconds = SINCE_SECONDS_MAX + 1, Some("filter.since_seconds"));
    }

    #[test]
    fn an_instance_is_named_whole_or_by_its_number() {
        let wants = |instance: Option<&str>, pod: &str| LogFilter { instance: instance.map(str::to_owned), ..LogFilter::default() }.wants(pod);
        assert!(wants(None, "shop-a1b2c3-1-2") && wants(Some("2"), "shop-a1b2c3-1-2") && wants(Some("shop-a1b2c3-1-2"), "shop-a1b2c3-1-2"));
        assert!(!wants(Some("1"), "shop-a1b2c3-1-2") && !wants(Some("12"), "shop-a1b2c3-1-2"));
    }

    #[test]
    fn severities_are_read_as_postgresql_writes_them() {
        for (text, severity) in [("DEBUG2", LogSeverity::Debug), ("LOG", LogSeverity::Log), ("error", LogSeverity::Error), ("?", LogSeverity::Log)] {
            assert_eq!(LogSeverity::read(text), severity, "{text}");
        }
        assert!(LogSeverity::ALL.is_sorted());
    }

    #[test]
    fn a_session_is_over_when_nobody_asks_any_more() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let session = LogSession {
            id: LogSessionId::from_random([1; 16]),
            database_id: request().database_id,
            environment_id: EnvironmentId::from_random([3; 16]),
            organization_id: OrganizationId::from_random([4; 16]),
            request: request(),
            opened_by: "key".to_owned(),
            opened_at: at(0),
            expires_at: at(100),
            renewed_at: at(50),
            renewals: 1,
            closed: false,
            version: 1,
        };
        assert!(session.read_at(at(99)) && !session.read_at(at(100)) && session.reading().lease_until == at(100));
        let left = LogSession { renewed_at: at(10), ..session.clone() };
        assert!(left.read_at(at(69)) && !left.read_at(at(70)) && left.open_at(at(70)));
        assert!(!LogSession { closed: true, ..session.clone() }.open_at(at(60)));
        assert_eq!(LogSession::asker(&session.id).short(20), session.id.short(20));
    }
}
