//! What PostgreSQL wrote, as CloudNativePG's instance manager passes it on: one JSON object a line.
use super::Operator;
use jiff::Timestamp;
use kiven_fake_kube::{LogLine, PodLog, PodLogs, kinds};
use serde_json::{Map, Value, json};
use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::PathBuf;
use std::sync::Arc;

/// What stands before each message: time, process, SQLSTATE, kind of process, user, database.
pub(crate) const LINE_PREFIX: &str = "%m|%p|%e|%b|%u|%d|";
/// Parts of a line with that prefix.
const PARTS: usize = 7;
/// Of a log that is longer only so much of its end is read, and at once.
const BYTES_MAX: u64 = 4 * 1024 * 1024;
/// Words of PostgreSQL's that begin a message's further lines, and their fields in a record.
const FURTHER: [(&str, &str); 6] =
    [("DETAIL", "detail"), ("HINT", "hint"), ("QUERY", "internal_query"), ("CONTEXT", "context"), ("LOCATION", "location"), ("STATEMENT", "query")];

/// Knows where instances write.
pub(crate) struct Logs(pub(crate) Arc<Operator>);

impl PodLogs for Logs {
    fn open(&self, namespace: &str, pod: &str, container: &str) -> Option<Box<dyn PodLog>> {
        let claim = self.0.kube.get(&kinds::VOLUME_CLAIMS, namespace, pod).ok().filter(|_| container == "postgres")?;
        let instance = self.0.instance(&claim)?;
        Some(Box::new(Written { path: instance.log(), read: None, rest: Vec::new(), records: Records::of(pod) }))
    }
}

/// A file, read as it grows.
struct Written {
    path: PathBuf,
    /// Up to where, once it was opened.
    read: Option<u64>,
    /// The beginning of a line that has not ended.
    rest: Vec<u8>,
    records: Records,
}

impl PodLog for Written {
    fn lines(&mut self) -> Vec<LogLine> {
        // A file that is not there, or is taken away, has no lines.
        self.more().unwrap_or_default()
    }
}

impl Written {
    fn more(&mut self) -> std::io::Result<Vec<LogLine>> {
        let mut file = File::open(&self.path)?;
        let length = file.metadata()?.len();
        let from = self.read.unwrap_or_else(|| length.saturating_sub(BYTES_MAX));
        if length <= from {
            return Ok(Vec::new());
        }
        file.seek(SeekFrom::Start(from))?;
        let taken = file.take(BYTES_MAX).read_to_end(&mut self.rest)?;
        self.read = Some(from + taken as u64);
        let Some(end) = self.rest.iter().rposition(|byte| *byte == b'\n') else { return Ok(Vec::new()) };
        let unfinished = self.rest.split_off(end + 1);
        let whole = std::mem::replace(&mut self.rest, unfinished);
        for line in String::from_utf8_lossy(&whole).lines() {
            self.records.line(line);
        }
        // A message and its further lines are written at once.
        Ok(self.records.take())
    }
}

/// Lines become records.
struct Records {
    pod: String,
    open: Option<(Timestamp, Map<String, Value>)>,
    /// The field that a line without prefix goes on with.
    field: &'static str,
    done: Vec<LogLine>,
    last: Timestamp,
}

impl Records {
    fn of(pod: &str) -> Self {
        Self { pod: pod.to_owned(), open: None, field: "message", done: Vec::new(), last: Timestamp::UNIX_EPOCH }
    }

    fn line(&mut self, line: &str) {
        if let (Some(more), Some((_, record))) = (line.strip_prefix('\t'), &mut self.open) {
            if let Some(Value::String(text)) = record.get_mut(self.field) {
                text.push('\n');
                text.push_str(more);
            }
            return;
        }
        let Some((at, parts, word, message)) = parsed(line) else {
            self.finish();
            // What other programs say beside PostgreSQL.
            let text = json!({ "level": "info", "ts": self.last, "logger": "instance-manager", "logging_pod": self.pod, "msg": line }).to_string();
            return self.done.push(LogLine { at: self.last, text });
        };
        if let (Some((_, field)), Some((_, record))) = (FURTHER.iter().find(|(further, _)| *further == word), &mut self.open) {
            self.field = field;
            record.insert((*field).to_owned(), json!(message));
            return;
        }
        self.finish();
        let fields = [("log_time", parts[0]), ("process_id", parts[1]), ("sql_state_code", parts[2]), ("backend_type", parts[3])];
        let more = [("user_name", parts[4]), ("database_name", parts[5]), ("error_severity", word), ("message", message)];
        let record = fields.into_iter().chain(more).filter(|(_, value)| !value.is_empty());
        self.open = Some((at, record.map(|(name, value)| (name.to_owned(), json!(value))).collect()));
        (self.field, self.last) = ("message", at);
    }

    fn finish(&mut self) {
        if let Some((at, record)) = self.open.take() {
            let line = json!({ "level": "info", "ts": at, "logger": "postgres", "msg": "record", "logging_pod": self.pod, "record": record });
            self.done.push(LogLine { at, text: line.to_string() });
        }
    }

    fn take(&mut self) -> Vec<LogLine> {
        self.finish();
        std::mem::take(&mut self.done)
    }
}

/// Time, the prefix's parts, the word before the message, and the message.
fn parsed(line: &str) -> Option<(Timestamp, Vec<&str>, &str, &str)> {
    let parts: Vec<&str> = line.splitn(PARTS, '|').collect();
    let (word, message) = parts.get(PARTS - 1)?.split_once(":  ")?;
    let (date, time) = parts.first()?.strip_suffix(" UTC")?.split_once(' ')?;
    let at = format!("{date}T{time}Z").parse().ok()?;
    word.bytes().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit()).then_some((at, parts, word, message))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;

    #[test]
    fn a_growing_file_becomes_records_whole_and_once() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("postgres.log");
        let mut log = Written { path: path.clone(), read: None, rest: Vec::new(), records: Records::of("shop-1") };
        assert!(log.lines().is_empty(), "there is no file");
        let mut file = File::create(&path).unwrap();
        let prefix = "2026-11-23 23:00:00.123 UTC|42|22P02|client backend|app|shop|";
        write!(file, "{prefix}ERROR:  invalid input: \"a|b\"\n{prefix}STATEMENT:  SELECT\n\t'x'\nno prefix\n{prefix}LOG:  half").unwrap();
        let lines: Vec<Value> = log.lines().iter().map(|line| serde_json::from_str(&line.text).unwrap()).collect();
        assert_eq!(lines.len(), 2);
        let record = &lines[0]["record"];
        assert_eq!((record["error_severity"].as_str(), record["sql_state_code"].as_str()), (Some("ERROR"), Some("22P02")));
        assert_eq!((record["message"].as_str(), record["query"].as_str()), (Some("invalid input: \"a|b\""), Some("SELECT\n'x'")));
        assert_eq!((lines[0]["logger"].as_str(), lines[1]["logger"].as_str()), (Some("postgres"), Some("instance-manager")));
        assert_eq!(lines[0]["ts"], "2026-11-23T23:00:00.123Z");
        assert!(log.lines().is_empty(), "half a line is none");
        writeln!(file, " and whole").unwrap();
        let lines = log.lines();
        assert!(lines.len() == 1 && lines[0].text.contains("half and whole"));
    }
}
