//! `kiven_environment_connection`: the way into an environment, proved.
use super::environment::id_of;
use super::{conform, done, no_environment, text, value_of};
use crate::diagnose::{failure, problem, refused, violations};
use crate::durations;
use crate::session::Shared;
use crate::wait::{Outcome, Patience};
use kiven_client::{Client, ClientError};
use kiven_model::api::{ConnectionRequest, EnvironmentView};
use kiven_model::environment::{EnvironmentSpec, EnvironmentStatus, Farewell};
use kiven_model::{Code, EnvironmentId, Violation, request};
use kiven_tfplugin::{
    Applied, Attr, Call, Diagnostic, Diagnostics, IdentitySchema, ImportKey, PlanRequest, Planned, Read, Resource, Schema, Stop, Type, Value,
    async_trait,
};

/// What can be changed only while the environment is not connected.
const FROZEN: [&str; 4] = ["role_arn", "subnets", "launch_template", "backup_kms_key_arn"];

const ON_DESTROY: &str = "What a destroy of this resource does while the environment has databases: `refuse` (default); `release`: they run on as \
    your own and Kiven forgets them, all of them must run; `destroy`: each is deleted with its own deletion settings, protected ones refuse, and \
    the destroy waits for the last grace. Apply a new value before the destroy.";
/// What a destroy does while there are databases, by default.
const REFUSE: &str = "refuse";

/// What a destroy does with databases; `Err` for a word that says nothing.
fn farewell(value: &Value) -> Result<Option<Farewell>, ()> {
    match value.get("on_destroy").as_str() {
        None | Some(REFUSE) => Ok(None),
        Some(word) => [Farewell::Release, Farewell::Destroy].into_iter().find(|one| one.as_str() == word).map(Some).ok_or(()),
    }
}

/// The resource.
pub(crate) struct EnvironmentConnection(pub(crate) Shared);

fn request_of(value: &Value) -> ConnectionRequest {
    let subnets = value
        .get("subnets")
        .as_members()
        .map(|members| members.iter().map(|(zone, subnet)| (zone.clone(), subnet.as_str().unwrap_or_default().to_owned())).collect());
    ConnectionRequest {
        role_arn: text(value, "role_arn"),
        subnets: subnets.unwrap_or_default(),
        launch_template: text(value, "launch_template"),
        backup_kms_key_arn: value.get("backup_kms_key_arn").as_str().map(str::to_owned),
    }
}

/// The account of a role and the region of a zone, as far as the configuration itself tells: for checks before anything is known.
fn spec_guess(request: &ConnectionRequest) -> EnvironmentSpec {
    let account = request.role_arn.split(':').nth(4).unwrap_or_default().to_owned();
    let region = request.subnets.keys().next().map_or(String::new(), |zone| zone.trim_end_matches(|c: char| c.is_ascii_lowercase()).to_owned());
    EnvironmentSpec { name: String::new(), aws_account_id: account, aws_region: region, eks_cluster_name: String::new() }
}

fn spec_of(view: &EnvironmentView) -> EnvironmentSpec {
    EnvironmentSpec {
        name: view.name.clone(),
        aws_account_id: view.aws_account_id.clone(),
        aws_region: view.aws_region.clone(),
        eks_cluster_name: view.eks_cluster_name.clone(),
    }
}

impl EnvironmentConnection {
    /// `own` has what only the state knows.
    fn state(&self, view: &EnvironmentView, own: &Value) -> Result<Value, Diagnostic> {
        let mut state = value_of(&self.schema(), view)?;
        state.set("environment_id", view.id.as_str());
        let connection = view.connection.as_ref();
        state.set("role_arn", connection.map(|c| c.role_arn.clone()));
        state.set("launch_template", connection.map(|c| c.launch_template.clone()));
        state.set("backup_kms_key_arn", connection.and_then(|c| c.backup_kms_key_arn.clone()));
        let subnets = connection.map(|c| c.subnets.iter().map(|(zone, subnet)| (zone.clone(), Value::from(subnet.as_str()))).collect());
        state.set("subnets", subnets.map_or(Value::Null, Value::Map));
        state.set("timeouts", own.get("timeouts").clone());
        state.set("on_destroy", own.get("on_destroy").as_str().unwrap_or(REFUSE));
        Ok(state)
    }

    fn violations(&self, config: &Value, spec: Option<&EnvironmentSpec>) -> Diagnostics {
        let asked = request_of(config);
        let guess = spec_guess(&asked);
        let mut wrong = request::connection(&asked, spec.unwrap_or(&guess)).err().unwrap_or_default();
        wrong.extend(durations::check(config));
        if farewell(config).is_err() {
            let hint = "`refuse` (default), `release` or `destroy`.";
            wrong.push(Violation::new(Code::DELETION_INVALID, "on_destroy", "this is nothing that a destroy can do", hint));
        }
        let known = |one: &Violation| {
            let attribute = one.field.split('.').next().unwrap_or_default();
            config.get(attribute).is_wholly_known()
        };
        violations(&self.schema(), &wrong.into_iter().filter(known).collect::<Vec<_>>())
    }

    async fn find(&self, id: &str, own: &Value) -> Result<Value, Diagnostics> {
        let client = self.0.client()?;
        let id = id_of(&self.schema(), "environment_id", id)?;
        match client.environment_get(&id).await {
            Ok(view) if view.connection.is_none() => Ok(Value::Null),
            Ok(view) => Ok(self.state(&view, own)?),
            Err(error) if error.not_found() => Ok(Value::Null),
            Err(error) => Err(failure(&self.schema(), "Reading the environment", &error)),
        }
    }

    /// Asks for the connection and waits. `kept` is the state when it comes to nothing: null for a create.
    async fn connect(&self, kept: &Value, planned: &Value, patience: Patience<'_>) -> Result<Applied, Applied> {
        let schema = self.schema();
        let refuse = |refused: Diagnostics| Applied::with(kept.clone(), refused);
        let client = self.0.client().map_err(|refused| refuse(refused.into()))?;
        let id = id_of(&schema, "environment_id", &text(planned, "environment_id")).map_err(|refused| refuse(refused.into()))?;
        let view =
            self.begin(client, &id, planned, &patience).await.map_err(|error| refuse(failure(&schema, "Connecting the environment", &error)))?;
        let outcome = match &view.operation_id {
            Some(operation) if view.status != EnvironmentStatus::Connected => patience.follow(client, operation).await,
            Some(_) | None => Outcome::Succeeded,
        };
        match outcome {
            Outcome::Succeeded => {
                // What is not read now is read by the next refresh.
                let view = client.environment_get(&id).await.unwrap_or(view);
                let state = self.state(&view, planned).map_err(|refused| refuse(refused.into()))?;
                Ok(Applied::of(conform(&state, planned)))
            }
            Outcome::Unwound(why) => Ok(Applied::with(kept.clone(), problem(&why))),
            Outcome::Unfinished(why) => {
                let state = self.state(&view, planned).map_err(|refused| refuse(refused.into()))?;
                Ok(Applied::with(conform(&state, planned), why.warning(view.operation_id.as_ref())))
            }
        }
    }

    /// The running attempt, when it is for the same connection; else a new one.
    async fn begin(&self, client: &Client, id: &EnvironmentId, planned: &Value, patience: &Patience<'_>) -> Result<EnvironmentView, ClientError> {
        let asked = request_of(planned);
        let view = client.environment_get(id).await?;
        let same = view.connection.as_ref().is_some_and(|c| request::connection(&asked, &spec_of(&view)).is_ok_and(|asked| *c == asked.into_inner()));
        if same && matches!(view.status, EnvironmentStatus::Connecting | EnvironmentStatus::Connected) {
            return Ok(view);
        }
        patience.ask(client, || client.connection_put(id, &asked)).await
    }

    async fn remove(&self, prior: &Value, stop: &Stop) -> Result<Applied, Diagnostics> {
        let client = self.0.client()?;
        let id = id_of(&self.schema(), "environment_id", &text(prior, "environment_id"))?;
        let patience = Patience::new(durations::of(prior, "delete"), stop);
        let farewell = farewell(prior).unwrap_or_default();
        let view = match patience.ask(client, || client.connection_delete(&id, farewell)).await {
            Ok(view) => view,
            Err(error) if error.not_found() => return Ok(Applied::default()),
            Err(error) => return Err(failure(&self.schema(), "Disconnecting the environment", &error)),
        };
        let Some(operation) = view.operation_id.filter(|_| view.status == EnvironmentStatus::Disconnecting) else { return Ok(Applied::default()) };
        match patience.follow(client, &operation).await {
            Outcome::Succeeded => Ok(Applied::default()),
            Outcome::Unwound(why) => Err(problem(&why).into()),
            Outcome::Unfinished(why) => Err(why.error(Some(&operation)).into()),
        }
    }
}

#[async_trait]
impl Resource for EnvironmentConnection {
    fn schema(&self) -> Schema {
        let text = "The way into an environment. Applying it proves that the role can be assumed with the external id and not without, and waits for the agent.";
        Schema::new(0)
            .describe(text)
            .attr(Attr::string("environment_id").required().describe("The `id` of the `kiven_environment`."))
            .attr(Attr::string("role_arn").required().describe("The role that Kiven assumes in your account."))
            .attr(Attr::map("subnets", Type::String).required().describe("Subnet by availability zone; each zone gets node groups."))
            .attr(Attr::string("launch_template").required().describe("The launch template of node groups, id or name."))
            .attr(Attr::string("on_destroy").optional().computed().default(REFUSE).describe(ON_DESTROY))
            .attr(Attr::string("backup_kms_key_arn").optional().describe(
                "The KMS key of yours that backups are encrypted with, named in the onboarding module too. Before the first database only.",
            ))
            .attr(Attr::string("status").computed().describe("`connected` once role and agent have answered."))
            .attr(Attr::list("postgres_versions", Type::Number).computed().describe("The PostgreSQL majors on offer, newest first."))
            .attr(durations::attribute())
    }

    fn identity(&self) -> Option<IdentitySchema> {
        Some(IdentitySchema::new(0).required("environment_id", Type::String, "The environment's id."))
    }

    async fn validate(&self, config: &Value) -> Diagnostics {
        self.violations(config, None)
    }

    async fn plan(&self, request: PlanRequest, _: &Call) -> Planned {
        let schema = self.schema();
        let PlanRequest { prior, proposed, config } = request;
        let mut planned = Planned::of(proposed);
        let id = config.get("environment_id").as_str().and_then(|text| EnvironmentId::parse(text).ok());
        if let (Some(client), Some(id), true) = (self.0.get(), id, prior.is_null()) {
            // Account and region are known now. Where the API does not answer, apply finds out.
            match client.environment_get(&id).await {
                Ok(view) => planned.diagnostics.extend(self.violations(&config, Some(&spec_of(&view)))),
                Err(error) if error.not_found() => planned.diagnostics.push(no_environment(&schema, &id)),
                Err(_) => {}
            }
        }
        if prior.is_null() {
            return planned;
        }
        let changed = |name: &&str| planned.state.get(name).is_wholly_known() && !planned.state.get(name).same(prior.get(name));
        let mut wrong = Diagnostics::none();
        if changed(&"environment_id") {
            let hint = "A connection belongs to its environment: destroy this one and add another resource.";
            wrong.push(refused(&schema, Code::NEVER_CHANGEABLE, "environment_id", hint));
        }
        let connected = prior.get("status").as_str() == Some(EnvironmentStatus::Connected.as_str());
        if connected {
            let hint = "A connected environment keeps its role, subnets and launch template for now. Keep the value.";
            wrong.extend(FROZEN.iter().filter(|name| changed(name)).map(|name| refused(&schema, Code::NOT_YET_CHANGEABLE, name, hint)).collect());
        } else {
            planned.state.set("status", Value::Unknown);
            planned.state.set("postgres_versions", Value::Unknown);
        }
        planned.diagnostics.extend(wrong);
        planned
    }

    async fn read(&self, state: Value, _: &Call) -> Read {
        match self.find(&text(&state, "environment_id"), &state).await {
            Ok(found) => Read::of(found),
            Err(refused) => Read::with(state, refused),
        }
    }

    async fn create(&self, planned: Value, _: Value, call: &Call) -> Applied {
        let patience = Patience::new(durations::of(&planned, "create"), &call.stop);
        done(self.connect(&Value::Null, &planned, patience).await)
    }

    async fn update(&self, prior: Value, planned: Value, _: Value, call: &Call) -> Applied {
        let patience = Patience::new(durations::of(&planned, "update"), &call.stop);
        done(self.connect(&prior, &planned, patience).await)
    }

    async fn delete(&self, prior: Value, call: &Call) -> Applied {
        self.remove(&prior, &call.stop).await.unwrap_or_else(|refused| Applied::with(prior, refused))
    }

    async fn import(&self, key: &ImportKey, _: &Call) -> Read {
        match self.find(key.text("environment_id"), &Value::Null).await {
            Ok(found) => Read::of(found),
            Err(refused) => Read::with(Value::Null, refused),
        }
    }
}
