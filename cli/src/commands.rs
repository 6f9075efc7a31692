//! What each command asks of the API, and how its answer is told.
use crate::args::{Api, Databases, Disconnect, Environments, Maintenance, Operations, Schedules, Upgrade};
use crate::fail::Fail;
use crate::show::{self, Names};
use crate::{environment, local_state, logs, psql, runbook, say, show_schedules};
use kiven_client::{Client, Followed, credentials_path};
use kiven_model::api::{DatabaseView, EnvironmentView, OperationView, ScheduleView};
use kiven_model::environment::{EnvironmentStatus, Farewell};
use kiven_model::lifecycle::DatabaseStatus;
use kiven_model::operation::{OperationEvent, OperationKind, OperationStatus};
use kiven_model::upgrade::UpgradesRequest;
use kiven_model::{DatabaseId, EnvironmentId, OperationId, ScheduleId};
use serde::Serialize;
use std::io::IsTerminal;
use std::time::Duration;

/// How long an operation is followed at most; it goes on by itself after that.
const FOLLOW_MAX: Duration = Duration::from_secs(60 * 60);

/// How answers are told.
struct Teller<'a> {
    client: &'a Client,
    json: bool,
}

/// Runs one command.
pub(crate) async fn run(client: &Client, command: Api, json: bool) -> Result<(), Fail> {
    let teller = Teller { client, json };
    match command {
        Api::Databases(Databases::List { all }) => teller.databases(all).await,
        Api::Databases(Databases::Show { database }) => {
            let database = teller.database(&database).await?;
            let names = teller.names_of(&[]).await?;
            teller.tell(&database, || show::database(&database, &names))
        }
        Api::Databases(Databases::Events { database }) => teller.events(&database).await,
        Api::Databases(Databases::Pause(power)) => teller.power(&power.database, DatabaseStatus::Paused, power.no_wait).await,
        Api::Databases(Databases::Resume(power)) => teller.power(&power.database, DatabaseStatus::Available, power.no_wait).await,
        Api::Databases(Databases::Undelete(power)) => {
            let database = teller.database(&power.database).await?;
            let answer = teller.client.database_undelete(&database.id).await?;
            teller.started(&answer, power.no_wait).await
        }
        Api::Databases(Databases::PatchNodes(asked)) => teller.maintain(&asked, OperationKind::PatchNodes).await,
        Api::Databases(Databases::RotateCertificates(asked)) => teller.maintain(&asked, OperationKind::RotateCertificates).await,
        Api::Operations(Operations::List { database }) => teller.operations(database.as_deref()).await,
        Api::Operations(Operations::Watch { target }) => teller.watch(&target).await,
        Api::Environments(asked) => teller.environments(asked).await,
        Api::Schedules(Schedules::List) => {
            let list = client.schedule_list().await?;
            let names = teller.names_of(&client.database_list(None).await?).await?;
            teller.tell(&list, || show_schedules::schedules(&list, &names))
        }
        Api::Schedules(Schedules::Show { schedule }) => {
            let schedule = teller.schedule(&schedule).await?;
            let names = teller.names_of(&client.database_list(None).await?).await?;
            teller.tell(&schedule, || show_schedules::schedule(&schedule, &names))
        }
        Api::Schedules(Schedules::Delete { schedule }) => {
            let schedule = teller.schedule(&schedule).await?;
            client.schedule_delete(&schedule.id).await?;
            teller.tell(&schedule, || format!("{} is deleted; the power of its databases stays as it is\n", schedule.id))
        }
        Api::Logs(asked) => {
            let database = teller.database(&asked.database).await?;
            logs::read(client, &database, &asked, json, now()).await
        }
        Api::Plans => {
            let list = client.plan_list().await?;
            teller.tell(&list, || show::plans(&list))
        }
        Api::Psql { database, print, arguments } => {
            let database = teller.database(&database).await?;
            let state = credentials_path(&environment).and_then(|path| local_state::state_folder(&path, client.endpoint()));
            let connection = psql::connection_string(&database, state.as_deref())?;
            match print {
                true => teller.tell(&connection, || format!("{connection}\n")),
                false => Err(psql::replace_process(&connection, &arguments)),
            }
        }
    }
}

impl Teller<'_> {
    fn tell(&self, value: &impl Serialize, text: impl FnOnce() -> String) -> Result<(), Fail> {
        if self.json { say(&(serde_json::to_string_pretty(value)? + "\n")) } else { say(&text()) }
    }

    /// Names by id: of the environments, and of these databases.
    async fn names_of(&self, databases: &[DatabaseView]) -> Result<Names, Fail> {
        // Only people read names.
        let environments = if self.json { Vec::new() } else { self.client.environment_list().await? };
        let environments = environments.into_iter().map(|e| (e.id.to_string(), e.name));
        Ok(environments.chain(databases.iter().map(|d| (d.id.to_string(), d.spec.name.to_string()))).collect())
    }

    /// Everything about environments.
    async fn environments(&self, asked: Environments) -> Result<(), Fail> {
        match asked {
            Environments::List => {
                let list = self.client.environment_list().await?;
                self.tell(&list, || show::environments(&list))
            }
            Environments::Show { environment } => {
                let environment = self.environment(&environment).await?;
                self.tell(&environment, || show::environment(&environment))
            }
            Environments::Check { environment } => {
                let environment = self.environment(&environment).await?;
                let found = self.client.environment_check(&environment.id).await?;
                self.tell(&found, || show::check(&found))
            }
            Environments::Runbook { environment } => {
                let environment = self.environment(&environment).await?;
                let page = runbook::text(&environment, &self.client.database_list(Some(&environment.id)).await?);
                self.tell(&page, || page.clone())
            }
            Environments::AgentToken { environment } => {
                let environment = self.environment(&environment).await?;
                let made = self.client.agent_token_create(&environment.id).await?;
                self.tell(&made, || format!("{}\n", made.token))
            }
            Environments::Upgrade(asked) => self.upgrade(&asked).await,
            Environments::Disconnect(asked) => self.disconnect(&asked).await,
            Environments::Orphans { environment } => {
                let environment = self.environment(&environment).await?;
                let found = self.client.environment_orphans(&environment.id).await?;
                self.tell(&found, || show::orphans(&found))
            }
        }
    }

    /// Moves operator and plugin, or says whether they move by themselves.
    async fn upgrade(&self, asked: &Upgrade) -> Result<(), Fail> {
        let environment = self.environment(&asked.environment).await?;
        if asked.pause || asked.resume {
            let answer = self.client.environment_upgrades_put(&environment.id, &UpgradesRequest { paused: asked.pause }).await?;
            let words = if asked.pause { "stay until they are moved by hand" } else { "move by themselves, in maintenance windows" };
            return self.tell(&answer, || format!("operator and plugin of {} {words}\n", answer.name));
        }
        let answer = self.client.environment_upgrade(&environment.id).await?;
        match &answer.upgrades.running {
            Some(id) if !asked.no_wait => self.follow(id).await,
            Some(id) => self.tell(&answer, || format!("operator and plugin of {} move; follow it: kiven operations watch {id}\n", answer.name)),
            None => self.tell(&answer, || format!("there is nothing newer for {}\n", answer.name)),
        }
    }

    /// Disconnects an environment, after its name has been typed again.
    async fn disconnect(&self, asked: &Disconnect) -> Result<(), Fail> {
        let environment = self.environment(&asked.environment).await?;
        let farewell = match (asked.release, asked.destroy) {
            (true, _) => Some(Farewell::Release),
            (false, true) => Some(Farewell::Destroy),
            (false, false) => None,
        };
        if !asked.yes {
            confirm(&environment.name, farewell, self.json)?;
        }
        let answer = self.client.connection_delete(&environment.id, farewell).await?;
        match &answer.operation_id {
            Some(id) if answer.status == EnvironmentStatus::Disconnecting && !asked.no_wait => self.follow(id).await,
            Some(id) if answer.status == EnvironmentStatus::Disconnecting => {
                self.tell(&answer, || format!("{} is being disconnected; follow it: kiven operations watch {id}\n", answer.name))
            }
            _ => self.tell(&answer, || format!("{} is no longer connected\n", answer.name)),
        }
    }

    async fn databases(&self, all: bool) -> Result<(), Fail> {
        let gone = |d: &DatabaseView| d.status.gone();
        let mut list = self.client.database_list(None).await?;
        list.retain(|d| all || !gone(d));
        list.sort_by(|a, b| (&a.spec.name, &a.id).cmp(&(&b.spec.name, &b.id)));
        let names = self.names_of(&[]).await?;
        self.tell(&list, || show::databases(&list, &names))
    }

    async fn operations(&self, database: Option<&str>) -> Result<(), Fail> {
        let of = match database {
            Some(database) => Some(self.database(database).await?.id),
            None => None,
        };
        let mut list = self.client.operation_list(of.as_ref()).await?;
        list.sort_by_key(|operation| std::cmp::Reverse(operation.created_at));
        let databases = if self.json { Vec::new() } else { self.client.database_list(None).await? };
        let names = self.names_of(&databases).await?;
        self.tell(&list, || show::operations(&list, &names))
    }

    /// A database by id or name.
    async fn database(&self, text: &str) -> Result<DatabaseView, Fail> {
        match DatabaseId::parse(text) {
            Ok(id) => Ok(self.client.database_get(&id).await?),
            Err(_) => pick_database(self.client.database_list(None).await?, text),
        }
    }

    /// A schedule by its id, or by a database that follows it.
    async fn schedule(&self, text: &str) -> Result<ScheduleView, Fail> {
        if let Ok(id) = ScheduleId::parse(text) {
            return Ok(self.client.schedule_get(&id).await?);
        }
        let database = self.database(text).await?;
        let none = || Fail::not_found(format!("`{}` follows no schedule", database.spec.name), "`kiven schedules list` shows them.");
        Ok(self.client.schedule_get(database.schedule_id.as_ref().ok_or_else(none)?).await?)
    }

    /// What schedules decided about a database; read from top to bottom.
    async fn events(&self, text: &str) -> Result<(), Fail> {
        let database = self.database(text).await?;
        let mut events = self.client.power_events(&database.id).await?;
        events.reverse();
        self.tell(&events, || show_schedules::events(&events))
    }

    /// An environment by id or name.
    async fn environment(&self, text: &str) -> Result<EnvironmentView, Fail> {
        if let Ok(id) = EnvironmentId::parse(text) {
            return Ok(self.client.environment_get(&id).await?);
        }
        let found = self.client.environment_list().await?.into_iter().find(|environment| environment.name == text);
        found.ok_or_else(|| Fail::not_found(format!("there is no environment `{text}`"), "`kiven environments list` shows them."))
    }

    async fn power(&self, text: &str, wanted: DatabaseStatus, no_wait: bool) -> Result<(), Fail> {
        let database = self.database(text).await?;
        let answer = match wanted {
            DatabaseStatus::Paused => self.client.database_pause(&database.id).await?,
            _ => self.client.database_resume(&database.id).await?,
        };
        self.started(&answer, no_wait).await
    }

    /// Maintenance begins at once, or, outside of the window and unless it is to, not at all: then it is said when.
    async fn maintain(&self, asked: &Maintenance, kind: OperationKind) -> Result<(), Fail> {
        let database = self.database(&asked.power.database).await?;
        let (window, now) = (database.spec.maintenance(), now());
        if !asked.now && !window.open_at(now) {
            let next = window.next_open(now).map_or(String::new(), |(from, _)| format!("; the next one begins at {from}"));
            return Err(Fail::Refused {
                message: format!("the maintenance window of `{}` is {window}{next}", database.spec.name),
                hint: "Kiven does by itself what is needed then; `--now` does it at once.".to_owned(),
            });
        }
        let answer = match kind {
            OperationKind::PatchNodes => self.client.database_patch_nodes(&database.id).await?,
            _ => self.client.database_rotate_certificates(&database.id).await?,
        };
        self.started(&answer, asked.power.no_wait).await
    }

    /// Follows what was accepted, unless nobody wants to wait.
    async fn started(&self, answer: &DatabaseView, no_wait: bool) -> Result<(), Fail> {
        match &answer.operation_id {
            Some(id) if answer.status.moving() && !no_wait => self.follow(id).await,
            Some(id) if answer.status.moving() => {
                self.tell(answer, || format!("{} is {}; follow it: kiven operations watch {id}\n", answer.spec.name, answer.status))
            }
            _ => self.tell(answer, || format!("{} is {}\n", answer.spec.name, answer.status)),
        }
    }

    async fn watch(&self, target: &str) -> Result<(), Fail> {
        if let Ok(id) = OperationId::parse(target) {
            return self.follow(&id).await;
        }
        let database = self.database(target).await?;
        let none = || {
            Fail::not_found(
                format!("no operation has run on `{}` yet", database.spec.name),
                "`kiven operations list` shows those of other databases.",
            )
        };
        self.follow(database.operation_id.as_ref().ok_or_else(none)?).await
    }

    /// Follows an operation to its end: lines as they come for people, the whole of it at the end for machines.
    async fn follow(&self, id: &OperationId) -> Result<(), Fail> {
        let mut events: Vec<OperationEvent> = Vec::new();
        let mut written = Ok(());
        let seen = |event: &OperationEvent| {
            events.push(event.clone());
            let began = events.first().map_or(event.at, |first| first.at);
            if !self.json && written.is_ok() {
                written = say(&show::progress(event, event.at.duration_since(began).as_secs_f64()));
            }
        };
        let followed = self.client.operation_follow(id, FOLLOW_MAX, seen).await?;
        written?;
        let Followed::Over(view) = followed else {
            let message = format!("the operation {id} is not over after {} minutes", FOLLOW_MAX.as_secs() / 60);
            return Err(Fail::TimedOut { message, hint: format!("It goes on by itself; look again with `kiven operations watch {id}`.") });
        };
        self.ended(OperationView { events, ..*view })
    }

    fn ended(&self, operation: OperationView) -> Result<(), Fail> {
        let took = operation.updated_at.duration_since(operation.created_at).as_secs_f64();
        self.tell(&operation, || format!("{} {} after {took:.1}s\n", operation.kind.as_str(), operation.status.as_str()))?;
        match operation.status {
            OperationStatus::Succeeded => Ok(()),
            OperationStatus::Failed | OperationStatus::Stuck | OperationStatus::Running | OperationStatus::Unwinding => {
                Err(Fail::Operation { operation: Box::new(operation) })
            }
        }
    }
}

/// Asks for the environment's name: what follows cannot be taken back by another command.
fn confirm(name: &str, farewell: Option<Farewell>, json: bool) -> Result<(), Fail> {
    let refuse = |message: &str| Fail::refused(message.to_owned(), "Say --yes to go on without the question.");
    if json || !std::io::stdin().is_terminal() {
        return Err(refuse("nobody can be asked whether this is meant"));
    }
    let what = match farewell {
        Some(Farewell::Release) => "Its databases run on as your own; Kiven forgets them.",
        Some(Farewell::Destroy) => "EVERY DATABASE of it is deleted, each with its own grace.",
        None => "It must have no databases.",
    };
    say(&format!("This disconnects the environment `{name}`. {what}\nType its name to go on: "))?;
    let mut typed = String::new();
    std::io::stdin().read_line(&mut typed).map_err(Fail::Output)?;
    if typed.trim() == name { Ok(()) } else { Err(refuse("that is not its name: nothing was done")) }
}

#[expect(clippy::disallowed_methods, reason = "the command line's own clock: it only says whether a window is open")]
fn now() -> jiff::Timestamp {
    jiff::Timestamp::now()
}

/// The database that people mean by a name: one that still holds it, else the last that did.
fn pick_database(list: Vec<DatabaseView>, name: &str) -> Result<DatabaseView, Fail> {
    let (released, held): (Vec<_>, Vec<_>) = list.into_iter().filter(|d| d.spec.name.as_str() == name).partition(|d| d.status.name_free());
    if let [first, second, ..] = held.as_slice() {
        let hint = format!("Give its id: {} or {}.", first.id, second.id);
        return Err(Fail::refused(format!("several environments have a database `{name}`"), hint));
    }
    let found = held.into_iter().next().or_else(|| released.into_iter().next_back());
    found.ok_or_else(|| Fail::not_found(format!("there is no database `{name}`"), "`kiven databases list` shows them."))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::show::tests::database;

    #[test]
    fn a_name_means_the_one_that_holds_it() {
        let list = || vec![database("shop", "deleted"), database("shop", "available"), database("other", "available")];
        assert_eq!(pick_database(list(), "shop").unwrap().status, DatabaseStatus::Available);
        assert_eq!(pick_database(vec![database("shop", "grace")], "shop").unwrap().status, DatabaseStatus::Grace);
        assert_eq!(pick_database(list(), "none").unwrap_err().exit_code(), 3);
    }

    #[test]
    fn two_of_one_name_are_asked_back() {
        let text = pick_database(vec![database("shop", "available"), database("shop", "paused")], "shop").unwrap_err().to_text();
        assert!(text.contains("Give its id: db_"), "{text}");
    }
}
