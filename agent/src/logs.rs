//! PostgreSQL's logs, read where they are written: what leaves the cluster unasked is severity, SQLSTATE, a template and a count.
//! What a person reads live goes another way, sealed to that person: [`crate::readers`].
use crate::line_reader::{LineReader, Read};
use crate::log_lines::{Kind, read_line, weigh};
use crate::objects::{api, resource};
use crate::outbox::Outbox;
use futures_util::AsyncBufRead;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use kiven_data_services::cnpg::DATABASE_LABEL;
use kiven_model::DatabaseId;
use kiven_model::names::DATABASE_NAMESPACE;
use kiven_model::report::{LOG_KINDS_MAX, LogCount, LogCounts, ReportBody};
use kube::api::{Api, ListParams, LogParams};
use kube::{Client, ResourceExt};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::task::JoinSet;
use tokio::time::Instant;

/// How often instances are looked for.
const LOOK: Duration = Duration::from_secs(10);
/// How often counts are reported.
const REPORT: Duration = Duration::from_secs(60);
/// Most instances whose logs are read at once: each is a connection to the API server.
const FOLLOWED_MAX: usize = 64;
/// Most lines of one instance that are looked at in a second; the others are uncounted.
const LINES_PER_SECOND_MAX: u32 = 200;
/// Instances of CloudNativePG, and no poolers.
const INSTANCES: &str = "cnpg.io/podRole=instance";
/// The container that PostgreSQL runs in.
pub(crate) const CONTAINER: &str = "postgres";

/// What was counted since the last report, by database and Cluster.
type Counts = BTreeMap<(DatabaseId, String), Tally>;

/// When the last line that was seen of an instance was written, by the pod's UID: what comes after a broken stream begins there.
type LastSeen = BTreeMap<String, Timestamp>;

fn lock<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Counts of one Cluster.
#[derive(Debug, Default)]
struct Tally {
    kinds: BTreeMap<Kind, u64>,
    uncounted: u64,
}

impl Tally {
    fn count(&mut self, kind: Kind) {
        if self.kinds.len() >= LOG_KINDS_MAX && !self.kinds.contains_key(&kind) {
            self.uncounted += 1;
        } else {
            *self.kinds.entry(kind).or_default() += 1;
        }
    }

    fn report(self, database_id: DatabaseId, cluster: String) -> LogCounts {
        let kind = |(kind, count): (Kind, u64)| LogCount { severity: kind.severity, sqlstate: kind.sqlstate, template: kind.template, count };
        LogCounts { database_id, cluster, kinds: self.kinds.into_iter().map(kind).collect(), uncounted: self.uncounted }
    }
}

/// One instance, whose logs are read.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Instance {
    pub(crate) uid: String,
    pub(crate) pod: String,
    cluster: String,
    pub(crate) database: DatabaseId,
}

/// Reads the logs of every instance, and reports once a minute what was in them.
pub(crate) async fn follow_for_ever(client: Client, outbox: Arc<Outbox>) {
    let (counts, seen): (Arc<Mutex<Counts>>, Arc<Mutex<LastSeen>>) = Default::default();
    let mut followed: BTreeMap<String, tokio::task::AbortHandle> = BTreeMap::new();
    let mut tasks = JoinSet::new();
    let (mut look, mut report) = (tokio::time::interval(LOOK), tokio::time::interval(REPORT));
    loop {
        tokio::select! {
            _ = look.tick() => {
                followed.retain(|_, task| !task.is_finished());
                let found = instances(&client, INSTANCES).await;
                // One that cannot be listed for a moment is not gone: its log is read on from where it was.
                if !found.is_empty() {
                    lock(&seen).retain(|uid, _| found.iter().any(|instance| instance.uid == *uid));
                }
                for instance in found.into_iter().take(FOLLOWED_MAX) {
                    let (counts, seen) = (Arc::clone(&counts), Arc::clone(&seen));
                    followed.entry(instance.uid.clone()).or_insert_with(|| tasks.spawn(follow(client.clone(), instance, counts, seen)));
                }
            }
            _ = report.tick() => {
                let all = std::mem::take(&mut *lock(&counts));
                for ((database, cluster), tally) in all {
                    outbox.push(ReportBody::Logged(tally.report(database, cluster)));
                }
            }
            // One that ended is started again by the next look, where its pod is still there.
            Some(_) = tasks.join_next() => {}
        }
    }
}

/// Running instances of one database.
pub(crate) async fn instances_of(client: &Client, database: &DatabaseId) -> Vec<Instance> {
    instances(client, &format!("{INSTANCES},{DATABASE_LABEL}={database}")).await
}

/// Running instances of databases, by a selector.
async fn instances(client: &Client, selector: &str) -> Vec<Instance> {
    let pods = api(client, DATABASE_NAMESPACE, &resource("", "v1", "Pod", "pods"));
    let Ok(found) = pods.list(&ListParams::default().labels(selector)).await else { return Vec::new() };
    let instance = |pod: kube::api::DynamicObject| {
        let running = pod.data["status"]["phase"] == "Running" && pod.metadata.deletion_timestamp.is_none();
        let (labels, uid) = (pod.labels(), pod.uid()?);
        let database = DatabaseId::parse(labels.get(DATABASE_LABEL)?).ok()?;
        let cluster = labels.get("cnpg.io/cluster")?.clone();
        running.then(|| Instance { uid, pod: pod.name_any(), cluster, database })
    };
    found.into_iter().filter_map(instance).collect()
}

/// Reads one instance's log until its stream ends: from the last line that was seen of it, by the time in the line, or from a moment ago.
async fn follow(client: Client, instance: Instance, counts: Arc<Mutex<Counts>>, seen: Arc<Mutex<LastSeen>>) {
    let pods: Api<Pod> = Api::namespaced(client, DATABASE_NAMESPACE);
    let last = lock(&seen).get(&instance.uid).copied();
    match pods.log_stream(&instance.pod, &since(last)).await {
        Ok(stream) => {
            let place = (instance.database, instance.cluster);
            read(std::pin::pin!(stream), last, |line, at| {
                if let Some(at) = at {
                    lock(&seen).insert(instance.uid.clone(), at);
                }
                let mut counts = lock(&counts);
                let tally = counts.entry(place.clone()).or_default();
                match line {
                    Line::Of(kind) => tally.count(kind),
                    Line::Uncounted => tally.uncounted += 1,
                }
            })
            .await;
        }
        Err(error) => tracing::debug!(%error, pod = instance.pod, "a log cannot be read"),
    }
}

/// The API server knows whole seconds, and would round them: the second of the last line is asked for, and its lines are passed over.
fn since(last: Option<Timestamp>) -> LogParams {
    let params = LogParams { container: Some(CONTAINER.to_owned()), follow: true, ..LogParams::default() };
    match last.and_then(|at| Timestamp::from_second(at.as_second()).ok()) {
        Some(second) => LogParams { since_time: Some(second), ..params },
        None => LogParams { since_seconds: i64::try_from(LOOK.as_secs()).ok(), ..params },
    }
}

/// What became of a line.
enum Line {
    Of(Kind),
    Uncounted,
}

/// Reads lines at a bounded pace, each with its time as far as it has one; what is not PostgreSQL's is passed over, and so is what is
/// not later than the last line that was seen.
async fn read<R: AsyncBufRead + Unpin>(stream: R, last: Option<Timestamp>, mut tell: impl FnMut(Line, Option<Timestamp>)) {
    let mut reader = LineReader::new(stream);
    let (mut second, mut lines) = (Instant::now(), 0);
    while let Some(read) = reader.next().await {
        if second.elapsed() >= Duration::from_secs(1) {
            (second, lines) = (Instant::now(), 0);
        }
        match read {
            Read::Line(line) if lines < LINES_PER_SECOND_MAX => {
                let at = weigh(line).and_then(|(_, at)| at);
                if at.is_some() && at <= last {
                    continue;
                }
                if let Some(kind) = read_line(line) {
                    tell(Line::Of(kind), at);
                }
            }
            Read::Line(_) | Read::TooLong => tell(Line::Uncounted, None),
        }
        lines += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::line_reader::LINE_BYTES_MAX;
    use serde_json::json;

    fn line(message: &str) -> String {
        json!({ "logger": "postgres", "record": { "error_severity": "ERROR", "sql_state_code": "23505", "message": message } }).to_string()
    }

    async fn tally_of(text: &str) -> Tally {
        let mut tally = Tally::default();
        read(futures_util::io::BufReader::with_capacity(7, text.as_bytes()), None, |line, _| match line {
            Line::Of(kind) => tally.count(kind),
            Line::Uncounted => tally.uncounted += 1,
        })
        .await;
        tally
    }

    #[tokio::test(start_paused = true)]
    async fn lines_are_counted_by_kind_and_what_is_too_much_is_uncounted() {
        let long = line(&"x".repeat(LINE_BYTES_MAX));
        let others = "{\"logger\":\"wal-archive\",\"msg\":\"CANARY\"}\nnot JSON\n";
        let text = format!(
            "{}\n{others}{}\n{long}\n",
            line("duplicate key value violates unique constraint \"CANARY\""),
            line("duplicate key value violates unique constraint \"b\"")
        );
        let tally = tally_of(&text).await;
        assert_eq!((tally.kinds.len(), tally.uncounted), (1, 1));
        let report = tally.report(DatabaseId::from_random([1; 16]), "shop-1".to_owned());
        assert_eq!((report.kinds[0].count, report.kinds[0].sqlstate.as_str()), (2, "23505"));
        assert!(!serde_json::to_string(&report).unwrap().contains("CANARY"));
        let many = format!("{}\n", line("deadlock detected")).repeat(LINES_PER_SECOND_MAX as usize + 5);
        assert_eq!(tally_of(&many).await.uncounted, 5);
    }

    #[tokio::test(start_paused = true)]
    async fn after_a_broken_stream_no_line_is_counted_twice_and_none_is_lost() {
        let at = |time: &str| {
            let record = json!({ "error_severity": "ERROR", "sql_state_code": "23505", "message": "deadlock detected" });
            format!("{}\n", json!({ "logger": "postgres", "ts": time, "record": record }))
        };
        let times = ["2026-01-01T00:00:00.1Z", "2026-01-01T00:00:00.9Z", "2026-01-01T00:00:00.95Z", "2026-01-01T00:00:03Z"];
        let (mut last, mut counted) = (None, 0);
        // The second stream begins with the second of the last line.
        for part in [&times[..2], &times[..]] {
            let text: String = part.iter().map(|time| at(time)).collect();
            let known = last;
            read(futures_util::io::BufReader::new(text.as_bytes()), known, |_, at| {
                counted += 1;
                last = at;
            })
            .await;
        }
        assert_eq!((counted, last), (4, Some("2026-01-01T00:00:03Z".parse().unwrap())));
        let asked = since(Some("2026-01-01T00:00:00.95Z".parse().unwrap()));
        assert_eq!((asked.since_time.unwrap().to_string().as_str(), asked.since_seconds), ("2026-01-01T00:00:00Z", None));
        assert_eq!(since(None).since_seconds, Some(10));
    }
}
