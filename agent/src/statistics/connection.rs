//! One connection to one instance: its questions, prepared once, and what it answers.
use super::Target;
use crate::sql::enter;
use anyhow::Context;
use kiven_data_services::statistics::{ASKED, ASKED_SQL, Asked, read};
use kiven_model::statistics::{InstanceStatistics, Section};
use kube::Client;
use std::collections::BTreeSet;
use std::time::Duration;
use tokio::time::Instant;
use tokio_postgres::Statement;

/// What this connection is called among the sessions.
const APPLICATION: &str = "kiven-agent-statistics";
/// What holds for its whole life: it only reads, gives up early, waits for nobody, and takes names from PostgreSQL's own schema alone.
const OPTIONS: &str = "-c default_transaction_read_only=on -c statement_timeout=5000 -c lock_timeout=250 \
    -c idle_in_transaction_session_timeout=10000 -c client_connection_check_interval=1000 -c search_path=pg_catalog -c timezone=UTC \
    -c datestyle=ISO -c standard_conforming_strings=on -c jit=off";
/// After this time texts of statements are told again: they may have been lost.
const TEXTS_AGAIN: Duration = Duration::from_secs(600);
/// Most statements whose text is remembered as told; with one more all are told again.
const TOLD_MAX: usize = 1_000;

/// Statements whose text was told of late.
#[derive(Default)]
pub(super) struct Told {
    ids: BTreeSet<i64>,
    since: Option<Instant>,
}

impl Told {
    /// Those of these whose text is to be told now; they count as told from now on.
    fn news(&mut self, ids: impl Iterator<Item = i64>) -> Vec<i64> {
        if self.since.is_none_or(|since| since.elapsed() >= TEXTS_AGAIN) || self.ids.len() >= TOLD_MAX {
            self.ids.clear();
            self.since = Some(Instant::now());
        }
        ids.filter(|id| *id != 0 && self.ids.insert(*id)).collect()
    }

    fn forget(&mut self, ids: &[i64]) {
        self.ids.retain(|id| !ids.contains(id));
    }
}

/// An open connection.
pub(super) struct Connection {
    sql: tokio_postgres::Client,
    questions: Vec<(Section, Statement)>,
    texts: Option<Statement>,
    /// Sections that could not even be asked for.
    missing: Vec<Section>,
    /// Whether statements are counted.
    counts: bool,
}

impl Connection {
    /// Connects and prepares what will be asked.
    pub(super) async fn open(client: &Client, target: &Target) -> anyhow::Result<Self> {
        let (sql, _) = enter(client, &target.entrance, target.place, |config| {
            config.dbname(&target.inside).application_name(APPLICATION).options(OPTIONS);
        })
        .await?;
        let row = sql.query_one(ASKED_SQL, &[]).await.context("it does not say what it is")?;
        let asked: Asked = serde_json::from_str(row.try_get(0)?)?;
        let (mut questions, mut missing) = (Vec::new(), Vec::new());
        for section in ASKED {
            let Some(question) = asked.question(section) else { continue };
            match sql.prepare(&question).await {
                Ok(statement) => questions.push((section, statement)),
                Err(error) if sql.is_closed() => return Err(error.into()),
                Err(_) => missing.push(section),
            }
        }
        let texts = match asked.question(Section::Texts) {
            Some(question) => sql.prepare(&question).await.ok(),
            None => None,
        };
        Ok(Self { sql, questions, texts, missing, counts: asked.schema.is_some() })
    }

    /// Whether it can be used again, with these questions: where statements are not counted yet, it is looked whether they are now.
    pub(super) async fn good(&self) -> bool {
        if self.counts || self.sql.is_closed() {
            return !self.sql.is_closed();
        }
        let row = self.sql.query_one(ASKED_SQL, &[]).await;
        let asked = row.ok().and_then(|row| serde_json::from_str::<Asked>(row.try_get(0).ok()?).ok());
        asked.is_some_and(|asked| asked.schema.is_none())
    }

    /// Asks everything. What is refused or takes too long is missing; only a connection that is gone is an error.
    pub(super) async fn ask(&self, target: &Target, told: &mut Told) -> anyhow::Result<InstanceStatistics> {
        let (database, cluster) = (target.database.clone(), target.cluster.clone());
        let mut said = InstanceStatistics::empty(database, cluster, target.instance.clone(), target.inside.clone(), crate::now());
        said.missing.clone_from(&self.missing);
        for (section, statement) in &self.questions {
            self.ask_one(&mut said, *section, statement, &[]).await?;
        }
        if let Some(texts) = &self.texts {
            let seen = said.statements.iter().map(|one| one.query_id).chain(said.sessions.iter().filter_map(|one| one.query_id));
            let ids = told.news(seen);
            if !ids.is_empty() {
                self.ask_one(&mut said, Section::Texts, texts, &[&ids]).await?;
                if said.missing.contains(&Section::Texts) {
                    told.forget(&ids);
                }
            }
        }
        Ok(said)
    }

    async fn ask_one(
        &self,
        said: &mut InstanceStatistics,
        section: Section,
        statement: &Statement,
        parameters: &[&(dyn tokio_postgres::types::ToSql + Sync)],
    ) -> anyhow::Result<()> {
        let answered = self.sql.query(statement, parameters).await;
        let rows = match answered {
            Ok(rows) => rows.iter().map(|row| row.try_get(0)).collect::<Result<Vec<String>, _>>().ok(),
            Err(error) if self.sql.is_closed() => return Err(error.into()),
            Err(error) => {
                tracing::debug!(%error, ?section, pod = said.instance, "a part of the statistics is missing");
                None
            }
        };
        let understood = rows.is_some_and(|rows| read(said, section, &rows).is_ok());
        if !understood {
            said.missing.push(section);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn texts_are_told_once_and_again_after_a_while() {
        let mut told = Told::default();
        assert_eq!(told.news([1, 2, 1, 0].into_iter()), [1, 2]);
        assert_eq!(told.news([1, 2, 3].into_iter()), [3]);
        told.forget(&[3]);
        assert_eq!(told.news([3].into_iter()), [3]);
        tokio::time::advance(TEXTS_AGAIN).await;
        assert_eq!(told.news([1, 2].into_iter()), [1, 2]);
        told.news(10..10 + i64::try_from(TOLD_MAX).unwrap());
        assert_eq!(told.news([1].into_iter()), [1], "memory is bounded");
    }
}
