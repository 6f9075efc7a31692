//! One line of PostgreSQL's log, without anything that a customer wrote. Pure.
//!
//! Only words of PostgreSQL's own leave: a list. Whatever is quoted, follows a colon, is a number or is not in the list is `?`, and
//! what SQL itself raises (`P0001`) has no text at all.
use jiff::Timestamp;
use kiven_model::logs::LogSeverity;
use serde::Deserialize;
use serde_json::value::RawValue;

/// Words of PostgreSQL's messages. A word that is missing costs a `?`; a customer's word costs more.
const WORDS: &str = "a aborted accept access acquire active administrator after already ambiguous an and any archive archiver are argument \
    as at attempt authentication automatic autovacuum available backend background backup base be because been before begin being between \
    block boolean buffer by cache cached call canceled canceling cannot cascade cascaded cast catalog changed character check checkpoint \
    checkpointer cluster collation column command committed complete completed concurrent conflict conflicts connection connections \
    consistent constraint constraints contains context control could crash create created current cursor data database databases date \
    deadlock default delete deleted denied depends detected did directory disabled disk distinct division do does down drop due duplicate \
    during each empty enabled encoding end ended ending error exceeded exceeds exclusive exist exists expected expired expression \
    extension failed fast fatal field file files find for foreign found free from full function functions global group has have id \
    identical idle in index inet infinite initialize input insert integer interrupted interval into invalid is isolation it job join \
    json jsonb key language large level limit line listening local lock locks log logical long lost manager match maximum memory message \
    missing mode multiple must name names negative no node non normal not null number numeric object of off on only open operator option \
    or order out outside overflow owned owner page parallel parameter parameters partition password peer permission pg_hba.conf plan \
    policy postgres prepared primary privileges procedure process protocol publication query range read ready recovery recursion \
    redo reference references relation reload remaining replication request requested required reserved reset restart restartpoint \
    restored result role rolled row rows running savepoint schema segment selected sequence serializable serialization server session \
    set shared shut shutdown shutting signal size skipped slot slots smart snapshot space specified sql ssl stack standby start started \
    starting startup state statement still storage stream streaming subquery subscription supported syntax system table tables tablespace \
    temporary terminated terminating text than that the there this time timed timeline timeout timestamp to too transaction transactions \
    trigger truncate try tuple type types unable undefined unexpected unique unknown unrecognized update updated user uuid vacuum value \
    values varying version view violates violation wait waiting wal was were with within without worker write writer wrong wraparound xid \
    year zero zone";
/// Longest message that is looked at, in bytes.
const MESSAGE_BYTES_MAX: usize = 1_000;
/// Longest template, in words.
const TEMPLATE_WORDS_MAX: usize = 24;
/// The SQLSTATE of what SQL raises itself, in words of its author.
const RAISED: &str = "P0001";
/// What PostgreSQL calls the severities of its log.
const SEVERITIES: [&str; 9] = ["DEBUG", "LOG", "INFO", "NOTICE", "WARNING", "ERROR", "FATAL", "PANIC", "STATEMENT"];

/// What lines are counted by.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Kind {
    pub(crate) severity: String,
    pub(crate) sqlstate: String,
    pub(crate) template: String,
}

/// A line as CloudNativePG's instance manager writes it.
#[derive(Deserialize)]
struct Line<'a> {
    #[serde(borrow)]
    logger: std::borrow::Cow<'a, str>,
    #[serde(borrow)]
    record: Option<Record<'a>>,
    /// Whatever it is: a line is not passed over for the form of its time.
    #[serde(borrow, default)]
    ts: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Record<'a> {
    #[serde(borrow, default)]
    error_severity: std::borrow::Cow<'a, str>,
    #[serde(borrow, default)]
    sql_state_code: std::borrow::Cow<'a, str>,
    #[serde(borrow, default)]
    message: std::borrow::Cow<'a, str>,
}

/// How serious a line is, and when it was written as far as it says so; `None` for one that is not PostgreSQL's.
pub(crate) fn weigh(line: &[u8]) -> Option<(LogSeverity, Option<Timestamp>)> {
    let Line { logger, record, ts } = serde_json::from_slice(line).ok()?;
    let record = record.filter(|_| logger == "postgres")?;
    let at = ts.and_then(|ts| ts.get().trim_matches('"').parse().ok());
    Some((LogSeverity::read(&record.error_severity), at))
}

/// The kind of a line; `None` for one that is not PostgreSQL's.
pub(crate) fn read_line(line: &[u8]) -> Option<Kind> {
    let Line { logger, record, ts: _ } = serde_json::from_slice(line).ok()?;
    let record = record.filter(|_| logger == "postgres")?;
    // Neither is a customer's to choose, and neither is believed.
    let severity = SEVERITIES.iter().find(|known| record.error_severity.starts_with(*known))?;
    let is_state = record.sql_state_code.len() == 5 && record.sql_state_code.bytes().all(|b| b.is_ascii_digit() || b.is_ascii_uppercase());
    let sqlstate = if is_known(&record.sql_state_code) && is_state { record.sql_state_code.as_ref() } else { "?????" };
    let template = if sqlstate == RAISED { "?".to_owned() } else { template(&record.message) };
    Some(Kind { severity: (*severity).to_owned(), sqlstate: sqlstate.to_owned(), template })
}

/// Classes of SQLSTATE that PostgreSQL has; SQL may raise any five characters it likes.
fn is_known(state: &str) -> bool {
    const CLASSES: &str = "00 01 02 03 08 09 0A 0B 0F 0L 0P 0Z 10 20 21 22 23 24 25 26 27 28 2B 2D 2F 34 38 39 3B 3D 3F 40 42 44 53 54 55 57 58 72 F0 \
        HV P0 XX";
    let number = |text: &str| text.bytes().filter(u8::is_ascii_uppercase).count() <= 2;
    state.get(..2).is_some_and(|class| CLASSES.split_whitespace().any(|known| known == class)) && state.get(2..).is_some_and(number)
}

/// A message in PostgreSQL's own words.
pub(crate) fn template(message: &str) -> String {
    let bounded: String = message.char_indices().take_while(|(at, _)| *at < MESSAGE_BYTES_MAX).map(|(_, c)| c).collect();
    let quote = |c: char| matches!(c, '"' | '\'' | '`' | '«' | '»' | '“' | '”' | '„' | '‘' | '’' | '(' | ')' | '$');
    // From the first quote to the last: what is quoted may hold quotes itself. A message that was cut may lack the last one.
    let cut = bounded.len() < message.len();
    let unquoted = match (bounded.find(quote), bounded.rfind(quote)) {
        (Some(first), _) if cut => format!("{} ?", &bounded[..first]),
        (Some(first), Some(last)) if last > first => format!("{} ? {}", &bounded[..first], bounded[last..].trim_start_matches(quote)),
        (Some(first), _) => format!("{} ?", &bounded[..first]),
        (None, _) => bounded,
    };
    // After a colon stand values, statements and other programs' errors.
    let own = unquoted.split_once(':').map_or(unquoted.clone(), |(own, _)| format!("{own} ?"));
    let mut words: Vec<&str> = Vec::new();
    for word in own.split_whitespace() {
        let bare = word.trim_end_matches([',', ';', '.']);
        let known = WORDS.split_whitespace().find(|known| known.eq_ignore_ascii_case(bare)).unwrap_or("?");
        if known != "?" || words.last() != Some(&"?") {
            words.push(known);
        }
        if words.len() == TEMPLATE_WORDS_MAX {
            break;
        }
    }
    words.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn messages_become_templates() {
        for (message, expected) in [
            ("duplicate key value violates unique constraint \"users_email_key\"", "duplicate key value violates unique constraint ?"),
            ("relation \"shop.orders\" does not exist", "relation ? does not exist"),
            ("invalid input syntax for type integer: \"CANARY\"", "invalid input syntax for type integer ?"),
            ("value too long for type character varying(10)", "value too long for type character varying ?"),
            ("canceling statement due to statement timeout", "canceling statement due to statement timeout"),
            ("duration: 12.5 ms  statement: SELECT 'CANARY'", "? ?"),
            ("process 4711 still waiting for ShareLock on transaction 99 after 1000.1 ms", "process ? still waiting for ? on transaction ? after ?"),
            ("password authentication failed for user \"bob\"", "password authentication failed for user ?"),
            ("deadlock detected", "deadlock detected"),
            ("terminating connection because of CANARY", "terminating connection because of ?"),
        ] {
            let expected = expected.replace("? ?", "?");
            assert_eq!(template(message), expected, "{message}");
        }
    }

    #[test]
    fn a_line_that_sql_raises_says_nothing_of_its_author() {
        let line = |state: &str, message: &str| {
            serde_json::json!({ "logger": "postgres", "record": { "error_severity": "ERROR", "sql_state_code": state, "message": message } })
                .to_string()
        };
        let kind = |line: String| read_line(line.as_bytes()).unwrap();
        assert_eq!(kind(line("P0001", "no user value table row")).template, "?");
        assert_eq!(kind(line("CANAR", "deadlock detected")).sqlstate, "?????");
        assert_eq!(kind(line("40P01", "deadlock detected")).sqlstate, "40P01");
        assert!(read_line(b"{\"logger\":\"postgres\",\"msg\":\"CANARY\"}").is_none());
    }

    /// Messages of the server with a place for what a customer wrote.
    const MESSAGES: [&str; 5] = [
        "invalid input syntax for type uuid: \"{}\"",
        "duplicate key value violates unique constraint \"{}\"",
        "relation \"{}\" of schema \"{}\" does not exist",
        "unrecognized configuration parameter \"{}\"",
        "syntax error at or near '{}'",
    ];

    proptest! {
        #[test]
        fn no_literal_leaves(literal in "\\PC{0,60}", words in proptest::collection::vec(proptest::sample::select(WORDS.split_whitespace().collect::<Vec<_>>()), 0..6), which in 0..MESSAGES.len()) {
            // Quoted, it makes no difference what it is: words of the list, quotes and all.
            let message = |literal: &str| template(&MESSAGES[which].replace("{}", literal));
            prop_assert_eq!(message(&literal), message("x"));
            prop_assert_eq!(message(&words.join(" ")), message("x"));
            // Unquoted, nothing of it leaves that is not a word of the list.
            let bare = template(&format!("terminating connection {literal} CANARY{literal}"));
            prop_assert!(bare.split(' ').all(|word| word == "?" || WORDS.split_whitespace().any(|known| known == word)), "{}", bare);
        }
    }
}
