//! `kiven_environment`: one EKS cluster that Kiven knows.
use super::{conform, done, random, text, value_of};
use crate::diagnose::{failure, refused, violations};
use crate::session::Shared;
use crate::wait::Patience;
use kiven_model::api::{EnvironmentRequest, EnvironmentView};
use kiven_model::{Code, EnvironmentId, Violation, request};
use kiven_tfplugin::{
    Applied, Attr, Call, Diagnostic, Diagnostics, IdentitySchema, ImportKey, PlanRequest, Planned, Read, Resource, Schema, Stop, Type, Value,
    async_trait,
};
use std::time::Duration;

/// How long a destroy waits for an operation that is in the way.
const DELETE_WAIT: Duration = Duration::from_secs(30 * 60);
/// What says which cluster it is: another value is another environment.
const IDENTITY: [&str; 4] = ["name", "aws_account_id", "aws_region", "eks_cluster_name"];

/// The resource.
pub(crate) struct Environment(pub(crate) Shared);

fn request_of(value: &Value) -> EnvironmentRequest {
    EnvironmentRequest {
        name: text(value, "name"),
        aws_account_id: text(value, "aws_account_id"),
        aws_region: text(value, "aws_region"),
        eks_cluster_name: text(value, "eks_cluster_name"),
    }
}

/// An id as written in HCL or at import.
pub(super) fn id_of(schema: &Schema, field: &str, text: &str) -> Result<EnvironmentId, Diagnostic> {
    let wrong = |error: kiven_model::ids::IdError| Violation::new(Code::ID_INVALID, field, error.to_string(), "Use the `id` of a kiven_environment.");
    EnvironmentId::parse(text).map_err(|error| crate::diagnose::violation(schema, &wrong(error)))
}

impl Environment {
    fn state(&self, view: &EnvironmentView) -> Result<Value, Diagnostic> {
        value_of(&self.schema(), view)
    }

    async fn make(&self, planned: &Value) -> Result<Applied, Applied> {
        let none = |refused: Diagnostics| Applied::with(Value::Null, refused);
        let client = self.0.client().map_err(|refused| none(refused.into()))?;
        let id = EnvironmentId::from_random(random().map_err(|refused| none(refused.into()))?);
        let made = client.environment_put(&id, &request_of(planned)).await;
        let view = made.map_err(|error| none(failure(&self.schema(), "Creating the environment", &error)))?;
        let state = self.state(&view).map_err(|refused| none(refused.into()))?;
        Ok(Applied::of(conform(&state, planned)))
    }

    async fn find(&self, id: &str) -> Result<Value, Diagnostics> {
        let client = self.0.client()?;
        let id = id_of(&self.schema(), "id", id)?;
        match client.environment_get(&id).await {
            Ok(view) => Ok(self.state(&view)?),
            Err(error) if error.not_found() => Ok(Value::Null),
            Err(error) => Err(failure(&self.schema(), "Reading the environment", &error)),
        }
    }

    async fn remove(&self, prior: &Value, stop: &Stop) -> Result<Applied, Diagnostics> {
        let client = self.0.client()?;
        let id = id_of(&self.schema(), "id", &text(prior, "id"))?;
        match Patience::new(DELETE_WAIT, stop).ask(client, || client.environment_delete(&id)).await {
            Ok(()) => Ok(Applied::default()),
            Err(error) if error.not_found() => Ok(Applied::default()),
            Err(error) => Err(failure(&self.schema(), "Destroying the environment", &error)),
        }
    }
}

#[async_trait]
impl Resource for Environment {
    fn schema(&self) -> Schema {
        Schema::new(0)
            .describe("One EKS cluster of yours. It becomes usable with a `kiven_environment_connection`.")
            .attr(Attr::string("id").computed().describe("The environment's id."))
            .attr(Attr::string("name").required().describe("Unique in the organization: 1 to 40 of `a-z`, `0-9` and `-`."))
            .attr(Attr::string("aws_account_id").required().describe("The AWS account, twelve digits."))
            .attr(Attr::string("aws_region").required().describe("The AWS region, inside the EU unless your organization says otherwise."))
            .attr(Attr::string("eks_cluster_name").required().describe("The EKS cluster's name."))
            .attr(Attr::string("external_id").computed().describe("What your role's trust policy must demand as `sts:ExternalId`."))
            .attr(Attr::string("principal_arn").computed().describe("Kiven's principal, which your role's trust policy names."))
            .attr(Attr::map("agent_values", Type::String).computed().describe("Values for the agent's Helm chart. None is secret."))
    }

    fn identity(&self) -> Option<IdentitySchema> {
        Some(IdentitySchema::new(0).required("id", Type::String, "The environment's id."))
    }

    async fn validate(&self, config: &Value) -> Diagnostics {
        let unknown: Vec<&str> = IDENTITY.into_iter().filter(|name| config.get(name).is_unknown()).collect();
        let wrong = request::environment(&request_of(config)).err().unwrap_or_default();
        let known: Vec<Violation> = wrong.into_iter().filter(|one| !unknown.contains(&one.field.as_str())).collect();
        violations(&self.schema(), &known)
    }

    async fn plan(&self, request: PlanRequest, _: &Call) -> Planned {
        let schema = self.schema();
        let mut planned = Planned::of(request.proposed);
        if !request.prior.is_null() {
            let changed = |name: &&str| !planned.state.get(name).is_unknown() && planned.state.get(name) != request.prior.get(name);
            let hint = "Another value is another environment: add a second kiven_environment and move the databases, or keep the value.";
            planned.diagnostics =
                IDENTITY.iter().filter(|name| changed(name)).map(|name| refused(&schema, Code::NEVER_CHANGEABLE, name, hint)).collect();
        }
        planned
    }

    async fn read(&self, state: Value, _: &Call) -> Read {
        match self.find(&text(&state, "id")).await {
            Ok(found) => Read::of(found),
            Err(refused) => Read::with(state, refused),
        }
    }

    async fn create(&self, planned: Value, _: Value, _: &Call) -> Applied {
        done(self.make(&planned).await)
    }

    async fn update(&self, prior: Value, planned: Value, _: Value, _: &Call) -> Applied {
        // Every change is refused at plan; what was unknown then is refused here.
        let hint = "An environment's attributes can never be changed.";
        let changed = IDENTITY.into_iter().find(|name| planned.get(name) != prior.get(name));
        match changed {
            Some(name) => Applied::with(prior, refused(&self.schema(), Code::NEVER_CHANGEABLE, name, hint)),
            None => Applied::of(conform(&prior, &planned)),
        }
    }

    async fn delete(&self, prior: Value, call: &Call) -> Applied {
        self.remove(&prior, &call.stop).await.unwrap_or_else(|refused| Applied::with(prior, refused))
    }

    async fn import(&self, key: &ImportKey, _: &Call) -> Read {
        match self.find(key.text("id")).await {
            Ok(found) => Read::of(found),
            Err(refused) => Read::with(Value::Null, refused),
        }
    }
}
