//! `kiven logs`: what PostgreSQL logs, opened here with a key that exists only while this process runs.
use crate::fail::Fail;
use crate::log_chain::{Chain, Said};
use clap::Args;
use jiff::{SignedDuration, Timestamp};
use kiven_client::Client;
use kiven_model::LogSessionId;
use kiven_model::api::DatabaseView;
use kiven_model::logs::{LogFilter, LogSessionRequest, LogSeverity, SESSION_MINUTES_MAX, statement};
use kiven_seal::{Line, Reader, SigningKey};
use serde_json::{Value, json};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// How long nothing may come before it is said that nobody seems to read.
const SILENCE_MAX: Duration = Duration::from_secs(20);
/// Clocks may differ: a session is asked for that ends so much before the longest one.
const SKEW_SECONDS: i64 = 60;

/// What `kiven logs` takes.
#[derive(Debug, Args)]
pub(crate) struct Logs {
    /// Its name or id.
    pub(crate) database: String,
    /// Go on with what is written from now on, until Ctrl-C or for an hour.
    #[arg(short, long)]
    follow: bool,
    /// Lines of so long ago too, at most a day: `90s`, `10m`, `2h`.
    #[arg(long, value_name = "TIME", value_parser = since)]
    since: Option<u32>,
    /// Only this instance: its pod's name, or the number at its end.
    #[arg(long)]
    instance: Option<String>,
    /// Only lines that are at least so serious: debug, log, info, notice, warning, error, fatal, panic.
    #[arg(long, default_value = "debug", value_parser = severity)]
    severity: LogSeverity,
    /// The Ed25519 private key (PEM) whose public half is in the chart's trustedReaders: it signs this reader's key.
    #[arg(long, value_name = "FILE")]
    reader_key: Option<PathBuf>,
}

fn since(text: &str) -> Result<u32, String> {
    let time: SignedDuration = text.parse().map_err(|_| "it is a time as `90s`, `10m` or `2h`".to_owned())?;
    u32::try_from(time.as_secs()).map_err(|_| "it is a time ago".to_owned())
}

fn severity(text: &str) -> Result<LogSeverity, String> {
    let words = || LogSeverity::ALL.map(LogSeverity::as_str).join(", ");
    LogSeverity::ALL.into_iter().find(|one| one.as_str() == text).ok_or_else(|| format!("it is one of {}", words()))
}

fn signing_key(path: &Path) -> Result<SigningKey, Fail> {
    let hint = "`openssl genpkey -algorithm ed25519` makes one; `openssl pkey -pubout` prints what belongs into trustedReaders.";
    let refused = |why: String| Fail::refused(format!("{}: {why}", path.display()), hint);
    let pem = std::fs::read(path).map_err(|error| refused(error.to_string()))?;
    SigningKey::parse(&pem).map_err(|error| refused(error.to_string()))
}

fn session_id() -> Result<LogSessionId, Fail> {
    let mut bits = [0; 16];
    getrandom::fill(&mut bits).map_err(|error| Fail::refused(format!("there is no randomness: {error}"), "Look at the system's /dev/urandom."))?;
    Ok(LogSessionId::from_random(bits))
}

/// Reads until it ends, or Ctrl-C.
pub(crate) async fn read(client: &Client, database: &DatabaseView, asked: &Logs, json: bool, now: Timestamp) -> Result<(), Fail> {
    let (reader, session) = (Reader::generate(), session_id()?);
    let expires_at = now.as_second() + SESSION_MINUTES_MAX * 60 - SKEW_SECONDS;
    let key = asked.reader_key.as_deref().map(signing_key).transpose()?;
    let certificate = key.map(|key| key.certify(&statement(&database.id, &session, &reader.public_key(), expires_at)));
    let request = LogSessionRequest {
        database_id: database.id.clone(),
        reader_key: reader.public_key(),
        expires_at_seconds: certificate.is_some().then_some(expires_at),
        certificate,
        filter: LogFilter {
            instance: asked.instance.clone(),
            severity: asked.severity,
            since_seconds: asked.since.unwrap_or(0),
            follow: asked.follow,
        },
    };
    client.log_session_put(&session, &request).await?;
    let read = tokio::select! {
        read = follow(client, &reader, &database.id, &session, json) => read,
        _ = tokio::signal::ctrl_c() => Ok(None),
    };
    // Left open it ends a minute later by itself.
    let closed = client.log_session_delete(&session).await;
    if let Some(why) = read? {
        eprintln!("kiven: no more lines: {why}");
    }
    Ok(closed?)
}

/// Shows batches as they come; answers why no more do, and nothing when nobody takes what is written.
async fn follow(
    client: &Client,
    reader: &Reader,
    database: &kiven_model::DatabaseId,
    session: &LogSessionId,
    json: bool,
) -> Result<Option<String>, Fail> {
    let (mut chain, mut heard) = (Chain::default(), Some(Instant::now()));
    loop {
        let answer = client.log_session_batches(session, chain.after()).await?;
        for sealed in &answer.batches {
            let broken = |error: kiven_seal::SealError| {
                Fail::refused(error.to_string(), "Somebody on the way changed it, or is not who they say. Tell whoever looks after Kiven's security.")
            };
            chain.add(sealed.sequence, reader.open(database, session, sealed).map_err(broken)?);
        }
        let last_word = answer.ended.is_some() && answer.batches.is_empty();
        for said in chain.next(last_word) {
            heard = None;
            match said {
                Said::Line(line) => {
                    let shown = if json { line.text } else { readable(&line) };
                    if !write(&shown)? {
                        return Ok(None);
                    }
                }
                Said::Dropped(count) => eprintln!("kiven: {count} lines dropped: more was written than is passed on"),
                Said::Missing => eprintln!("kiven: some lines are missing: a batch did not arrive"),
                Said::Ended(why) => return Ok(Some(why)),
            }
        }
        if answer.batches.is_empty() && answer.ended.is_some() {
            return Ok(answer.ended);
        }
        if chain.after() > 0 {
            heard = None;
        }
        if heard.is_some_and(|since| since.elapsed() > SILENCE_MAX) {
            heard = None;
            eprintln!("kiven: the database's agent has not answered yet; `kiven environments check` says whether it is heard");
        }
        sleep(Duration::from_millis(answer.retry_after_ms.clamp(50, 10_000))).await;
    }
}

/// Writes a line; false when nobody reads any more (`kiven logs … | head`).
fn write(line: &str) -> Result<bool, Fail> {
    let mut out = std::io::stdout().lock();
    match writeln!(out, "{line}").and_then(|()| out.flush()) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(false),
        Err(error) => Err(Fail::Output(error)),
    }
}

/// One line for people. What clients wrote into it cannot move the cursor or colour the screen.
fn readable(line: &Line) -> String {
    let whole: Value = serde_json::from_str(&line.text).unwrap_or_else(|_| json!({ "record": { "message": line.text } }));
    let record = &whole["record"];
    let text = |name: &str| record[name].as_str().filter(|text| !text.is_empty());
    let who = match (text("user_name"), text("database_name")) {
        (Some(user), Some(database)) => format!(" {user}@{database}"),
        (Some(one), None) | (None, Some(one)) => format!(" {one}"),
        (None, None) => String::new(),
    };
    let state = text("sql_state_code").filter(|state| *state != "00000").map_or(String::new(), |state| format!(" {state}"));
    let time = text("log_time").or_else(|| whole["ts"].as_str()).unwrap_or("-");
    let severity = text("error_severity").unwrap_or("LOG");
    let mut shown = format!("{time} {} {severity}{state}{who}: {}", line.pod, text("message").unwrap_or_default());
    for (name, word) in [("detail", "DETAIL"), ("hint", "HINT"), ("internal_query", "QUERY"), ("context", "CONTEXT"), ("query", "STATEMENT")] {
        if let Some(more) = text(name) {
            shown.push_str(&format!("\n    {word}: {more}"));
        }
    }
    shown.chars().flat_map(visible).collect()
}

/// A character as it may be shown: line ends and tabs stay, other controls are escaped.
fn visible(character: char) -> Vec<char> {
    match character {
        '\n' => "\n    ".chars().collect(),
        '\t' => vec!['\t'],
        other if other.is_control() => other.escape_default().collect(),
        other => vec![other],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> String {
        readable(&Line { pod: "shop-1".to_owned(), text: text.to_owned() })
    }

    #[test]
    fn a_record_becomes_a_line() {
        let record = json!({ "logger": "postgres", "record": {
            "log_time": "2026-11-23 23:00:00.123 UTC", "error_severity": "ERROR", "sql_state_code": "22P02", "user_name": "app",
            "database_name": "shop", "message": "invalid input", "query": "SELECT\n'x'", "hint": "" } });
        let expected = "2026-11-23 23:00:00.123 UTC shop-1 ERROR 22P02 app@shop: invalid input\n        STATEMENT: SELECT\n    'x'";
        assert_eq!(shown(&record.to_string()), expected);
        assert_eq!(shown("not JSON"), "- shop-1 LOG: not JSON");
    }

    #[test]
    fn what_clients_write_does_not_reach_the_terminal_as_a_command() {
        let record = json!({ "record": { "message": "a\u{1b}[2Jb\u{7}\rc\u{9b}1m" } });
        let line = shown(&record.to_string());
        assert!(!line.chars().any(char::is_control), "{line}");
        assert!(line.contains("a\\u{1b}[2Jb"));
    }

    #[test]
    fn times_and_severities_are_read() {
        assert_eq!(since("10m"), Ok(600));
        assert_eq!(since("1h30m"), Ok(5400));
        assert!(since("yesterday").is_err() && since("-5m").is_err());
        assert_eq!(severity("warning"), Ok(LogSeverity::Warning));
        assert!(severity("loud").is_err());
    }
}
