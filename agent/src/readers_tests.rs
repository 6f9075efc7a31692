//! Whose key is sealed to, and for how long.
use super::*;
use kiven_model::logs::LogFilter;
use kiven_seal::{Reader, SigningKey};

/// The private key of RFC 8032's first example.
pub(crate) const CUSTOMER: &str =
    "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEIJ1hsZ3v/VpguoRK9JLsLMREScVpezJpGXA7rAMcrn9g\n-----END PRIVATE KEY-----\n";

fn database(seed: u8) -> DatabaseId {
    DatabaseId::from_random([seed; 16])
}

fn now() -> Timestamp {
    Timestamp::from_second(1_000_000).unwrap()
}

fn reading() -> LogReading {
    let expires_at = now() + SignedDuration::from_mins(10);
    LogReading {
        session_id: LogSessionId::from_random([1; 16]),
        reader_key: Reader::generate().public_key(),
        certificate: None,
        filter: LogFilter::default(),
        expires_at,
        lease_until: expires_at,
    }
}

fn certified(reading: LogReading) -> LogReading {
    let key = SigningKey::parse(CUSTOMER.as_bytes()).unwrap();
    let signed = statement(&database(2), &reading.session_id, &reading.reader_key, reading.expires_at.as_second());
    LogReading { certificate: Some(key.certify(&signed)), ..reading }
}

fn check(trusted: bool, reading: &LogReading, at: Timestamp, code: Option<Code>) {
    let key = TrustedKey::parse(&SigningKey::parse(CUSTOMER.as_bytes()).unwrap().public_key()).unwrap();
    let trusted = if trusted { vec![key] } else { Vec::new() };
    assert_eq!(judge_reader(&trusted, &database(2), reading, at).err().map(|problem| problem.code), code);
}

#[test]
fn without_trusted_readers_any_key_is_good_for_an_hour() {
    let reading = reading();
    check(false, &reading, now(), None);
    check(false, &reading, reading.expires_at, Some(Code::COMMAND_EXPIRED));
    check(false, &reading, now() - SignedDuration::from_hours(1), Some(Code::COMMAND_EXPIRED));
    check(false, &LogReading { reader_key: "zz".to_owned(), ..reading }, now(), Some(Code::AGENT_REFUSED));
}

#[test]
fn with_trusted_readers_everything_that_is_signed_has_to_hold() {
    check(true, &reading(), now(), Some(Code::READER_UNTRUSTED));
    let good = certified(reading());
    check(true, &good, now(), None);
    let untrusted = |changed: &LogReading| check(true, changed, now(), Some(Code::READER_UNTRUSTED));
    untrusted(&LogReading { reader_key: Reader::generate().public_key(), ..good.clone() });
    untrusted(&LogReading { session_id: LogSessionId::from_random([9; 16]), ..good.clone() });
    untrusted(&LogReading { expires_at: good.expires_at + SignedDuration::from_secs(1), ..good.clone() });
    let key = TrustedKey::parse(&SigningKey::parse(CUSTOMER.as_bytes()).unwrap().public_key()).unwrap();
    let elsewhere = judge_reader(&[key], &database(3), &good, now());
    assert_eq!(elsewhere.err().unwrap().code, Code::READER_UNTRUSTED, "another database");
}
