//! `kiven_plans`: what can be bought.
use crate::session::Shared;
use kiven_tfplugin::{Attr, Call, DataSource, Diagnostic, Nesting, Read, Schema, Value, async_trait, from_json};

/// The data source.
pub(crate) struct Plans(pub(crate) Shared);

#[async_trait]
impl DataSource for Plans {
    fn schema(&self) -> Schema {
        let plan = vec![
            Attr::string("name").computed().describe("What `plan` of a database is set to."),
            Attr::number("vcpu").computed().describe("CPU limit in cores."),
            Attr::number("memory_gib").computed().describe("PostgreSQL's memory in GiB, in full."),
            Attr::number("storage_gb").computed().describe("Volume size of each instance in GB, unless the database says more."),
            Attr::number("instances").computed().describe("Instances, the primary included."),
            Attr::string("node_type").computed().describe("The node class, EC2's name."),
            Attr::number("monthly_cost_usd").computed().describe("USD a month on your own AWS bill when always on, at most."),
        ];
        Schema::new(0)
            .describe("The plans on offer. `custom` is not among them: it has the size that a database says.")
            .attr(Attr::nested("plans", Nesting::List, plan).computed().describe("Cheapest first."))
    }

    async fn read(&self, _: Value, _: &Call) -> Read {
        let client = match self.0.client() {
            Ok(client) => client,
            Err(refused) => return Read::with(Value::Null, refused),
        };
        let plans = match client.plan_list().await {
            Ok(plans) => plans,
            Err(error) => return Read::with(Value::Null, crate::diagnose::failure(&self.schema(), "Reading the plans", &error)),
        };
        match from_json(&self.schema().value_type(), &serde_json::json!({ "plans": plans })) {
            Ok(state) => Read::of(state),
            Err(error) => Read::with(Value::Null, Diagnostic::error("The plans cannot be read", error.to_string())),
        }
    }
}
