//! People who read a database's log live: the agent reads for them and seals to their key, so that nobody on the way can read it.
//!
//! A session lives while the control plane says again and again that its reader still asks; every bound is here too, whatever is said.
use crate::line_reader::{LineReader, Read};
use crate::log_lines::weigh;
use crate::logs::{CONTAINER, Instance, instances_of};
use crate::outbox::Outbox;
use crate::waiting::Waiting;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::Pod;
use kiven_model::command::{Command, CommandOutcome, CommandOutput};
use kiven_model::logs::{
    BatchHeader, LogReading, SESSION_BYTES_MAX, SESSIONS_PER_DATABASE_MAX, SESSIONS_PER_ENVIRONMENT_MAX, SINCE_SECONDS_MAX, statement,
};
use kiven_model::names::DATABASE_NAMESPACE;
use kiven_model::report::ReportBody;
use kiven_model::{Code, DatabaseId, LogSessionId, Problem};
use kiven_seal::{Batch, Line, Place, ReaderKey, TrustedKey, is_certified};
use kube::Client;
use kube::api::{Api, LogParams};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinSet;

/// How often instances are looked for.
const LOOK: Duration = Duration::from_secs(5);
/// How often a batch is sealed.
const BEAT: Duration = Duration::from_secs(1);
/// Most instances that one session reads: each is a connection to the API server.
const INSTANCES_MAX: usize = 8;
/// Batches of all sessions that wait for the relay; beyond it lines wait, and are then dropped and counted.
const SEALED_WAITING_MAX: usize = 8;
/// Longest that the control plane can say at once that somebody still reads.
const LEASE_MAX: SignedDuration = SignedDuration::from_secs(120);
/// Longest session, whatever is asked for: an hour, and what clocks may differ.
const SESSION_MAX: SignedDuration = SignedDuration::from_mins(65);

/// Everybody who reads.
pub(crate) struct Readers {
    client: Client,
    outbox: Arc<Outbox>,
    /// When there are any, only what they have signed is a reader's key.
    trusted: Vec<TrustedKey>,
    sessions: Mutex<BTreeMap<LogSessionId, Session>>,
}

/// One reader's session; over when its task no longer looks at the lease.
struct Session {
    database: DatabaseId,
    reader_key: String,
    lease: watch::Sender<Option<Timestamp>>,
}

fn refused(code: Code, why: impl Into<String>, hint: &str) -> Problem {
    Problem::new(code, why).hint(hint)
}

/// Whether a key may be sealed to: within its time, and signed where the customer demands it. Pure.
pub(crate) fn judge_reader(trusted: &[TrustedKey], database: &DatabaseId, reading: &LogReading, now: Timestamp) -> Result<ReaderKey, Problem> {
    if now >= reading.expires_at || reading.expires_at > now + SESSION_MAX {
        return Err(refused(Code::COMMAND_EXPIRED, "the reader's time is over, or further away than an hour", "Compare the clocks, and read again."));
    }
    let signed = statement(database, &reading.session_id, &reading.reader_key, reading.expires_at.as_second());
    if !trusted.is_empty() && !is_certified(trusted, reading.certificate.as_ref(), &signed) {
        let hint = "Sign with a key whose public half is in the chart's trustedReaders: `kiven logs --reader-key FILE`.";
        return Err(refused(Code::READER_UNTRUSTED, "the reader's key is not certified by one of the trusted readers", hint));
    }
    ReaderKey::parse(&reading.reader_key).map_err(|error| refused(Code::AGENT_REFUSED, error.to_string(), "Make a new one: `kiven logs` does."))
}

impl Readers {
    pub(crate) fn new(client: Client, outbox: Arc<Outbox>, trusted: Vec<TrustedKey>) -> Arc<Self> {
        Arc::new(Self { client, outbox, trusted, sessions: Mutex::default() })
    }

    fn sessions(&self) -> MutexGuard<'_, BTreeMap<LogSessionId, Session>> {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins to read, or goes on.
    pub(crate) fn read(&self, command: &Command, reading: &LogReading) -> CommandOutcome {
        match self.admit(command, reading) {
            Ok(()) => CommandOutcome::Done(CommandOutput::Nothing),
            Err(problem) => CommandOutcome::Refused(problem),
        }
    }

    fn admit(&self, command: &Command, reading: &LogReading) -> Result<(), Problem> {
        let no_database = || refused(Code::AGENT_REFUSED, "the command names no database", "Name one.");
        let (database, now) = (command.database_id.clone().ok_or_else(no_database)?, crate::now());
        let key = judge_reader(&self.trusted, &database, reading, now)?;
        let until = Some(reading.lease_until.min(now + LEASE_MAX).min(reading.expires_at));
        let mut sessions = self.sessions();
        sessions.retain(|_, session| !session.lease.is_closed());
        if let Some(known) = sessions.get(&reading.session_id) {
            if known.database != database || known.reader_key != reading.reader_key {
                return Err(refused(Code::AGENT_REFUSED, "the session reads another database or for another key", "Open another session."));
            }
            known.lease.send_replace(until);
            return Ok(());
        }
        let of_the_database = sessions.values().filter(|session| session.database == database).count();
        if sessions.len() >= SESSIONS_PER_ENVIRONMENT_MAX || of_the_database >= SESSIONS_PER_DATABASE_MAX {
            return Err(refused(Code::TOO_MANY_READERS, "as many read already as the agent reads for at once", "Wait until one of them ends."));
        }
        let (lease, looked_at) = watch::channel(until);
        let tail = Tail {
            client: self.client.clone(),
            outbox: Arc::clone(&self.outbox),
            session: reading.session_id.clone(),
            database: database.clone(),
            filter: reading.filter.clone(),
            opened_at: now,
            lease: looked_at,
            key,
            waiting: Arc::default(),
            last: 0,
            bytes: 0,
        };
        tracing::info!(session_id = %reading.session_id, database_id = %database, "a log is read for a reader");
        tokio::spawn(tail.run());
        sessions.insert(reading.session_id.clone(), Session { database, reader_key: reading.reader_key.clone(), lease });
        Ok(())
    }

    /// The reader has gone; one that is not there is none.
    pub(crate) fn end(&self, session: &LogSessionId) -> CommandOutcome {
        if let Some(known) = self.sessions().remove(session) {
            known.lease.send_replace(None);
        }
        CommandOutcome::Done(CommandOutput::Nothing)
    }
}

/// What reads for one session.
struct Tail {
    client: Client,
    outbox: Arc<Outbox>,
    session: LogSessionId,
    database: DatabaseId,
    key: ReaderKey,
    filter: kiven_model::logs::LogFilter,
    opened_at: Timestamp,
    lease: watch::Receiver<Option<Timestamp>>,
    waiting: Arc<Waiting>,
    /// The sequence of the last batch.
    last: u64,
    bytes: u64,
}

impl Tail {
    async fn run(mut self) {
        let (mut look, mut beat) = (tokio::time::interval(LOOK), tokio::time::interval(BEAT));
        let mut followed = BTreeSet::new();
        let mut following: JoinSet<String> = JoinSet::new();
        // The first batch is empty: the reader learns by it that somebody reads.
        let (mut say, mut looked) = (true, false);
        let why = loop {
            tokio::select! {
                _ = look.tick(), if self.filter.follow || !looked => {
                    for instance in instances_of(&self.client, &self.database).await.into_iter().filter(|instance| self.filter.wants(&instance.pod)) {
                        if followed.len() < INSTANCES_MAX && followed.insert(instance.uid.clone()) {
                            let since = self.since(!looked);
                            following.spawn(self.follow(instance, since));
                        }
                    }
                    looked = true;
                }
                // One that ended is read again by the next look, where its pod is still there.
                Some(Ok(uid)) = following.join_next() => drop(followed.remove(&uid)),
                _ = beat.tick() => {
                    if let Some(why) = self.over() {
                        break why;
                    }
                    if !self.filter.follow && looked && following.is_empty() && self.waiting.is_empty() {
                        break "that is all there is";
                    }
                    if (say || !self.waiting.is_empty()) && self.outbox.sealed() < SEALED_WAITING_MAX {
                        self.seal(None);
                        say = false;
                    }
                }
            }
        };
        self.seal(Some(why.to_owned()));
        tracing::info!(session_id = %self.session, why, bytes = self.bytes, "a log is no longer read");
    }

    /// From so many seconds ago an instance's log is read: as the reader asks at first, else from when it was last looked for.
    fn since(&self, at_first: bool) -> u64 {
        if at_first { u64::from(self.filter.since_seconds.clamp(1, SINCE_SECONDS_MAX)) } else { LOOK.as_secs() }
    }

    fn over(&self) -> Option<&'static str> {
        match *self.lease.borrow() {
            None => Some("the reader has gone"),
            Some(until) if until <= crate::now() => Some("its time is over, or nobody has asked for a minute"),
            Some(_) if self.bytes >= SESSION_BYTES_MAX => Some("as much was read as one session may"),
            Some(_) => None,
        }
    }

    /// Reads one instance's log until it ends, and answers whose it was.
    fn follow(&self, instance: Instance, since_seconds: u64) -> impl Future<Output = String> + Send + 'static {
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), DATABASE_NAMESPACE);
        let (waiting, filter, opened_at) = (Arc::clone(&self.waiting), self.filter.clone(), self.opened_at);
        let since_seconds = i64::try_from(since_seconds).ok();
        async move {
            let params = LogParams { container: Some(CONTAINER.to_owned()), follow: filter.follow, since_seconds, ..LogParams::default() };
            match pods.log_stream(&instance.pod, &params).await {
                Ok(stream) => {
                    let stream = std::pin::pin!(stream);
                    let mut lines = LineReader::new(stream);
                    while let Some(read) = lines.next().await {
                        let Read::Line(line) = read else {
                            waiting.drop_one();
                            continue;
                        };
                        let Some((severity, at)) = weigh(line) else { continue };
                        if severity >= filter.severity {
                            let line = Line { pod: instance.pod.clone(), text: String::from_utf8_lossy(line).into_owned() };
                            // What was written before the reader came waits for its turn; what is written now waits for nobody.
                            let patient = !filter.follow || at.is_some_and(|at| at < opened_at);
                            waiting.push(line, patient).await;
                        }
                    }
                }
                Err(error) => tracing::debug!(%error, pod = instance.pod, "a log cannot be read for a reader"),
            }
            instance.uid
        }
    }

    /// Seals what waits.
    fn seal(&mut self, ended: Option<String>) {
        let (lines, dropped) = self.waiting.take();
        let now = u64::try_from(crate::now().as_millisecond()).unwrap_or(0);
        // Greater than those of a process before this one, as far as the clock goes forward.
        let sequence = now.max(self.last + 1);
        self.bytes += lines.iter().map(|line| line.bytes() as u64).sum::<u64>();
        let batch = Batch { header: BatchHeader { previous: self.last, dropped, ended }, lines };
        let place = Place { database: &self.database, session: &self.session, sequence };
        match self.key.seal(place, &batch) {
            Ok(sealed) => {
                self.last = sequence;
                self.outbox.push(ReportBody::Sealed(sealed));
            }
            Err(error) => tracing::warn!(%error, session_id = %self.session, "a batch could not be sealed"),
        }
    }
}

#[cfg(test)]
#[path = "readers_tests.rs"]
pub(crate) mod tests;
