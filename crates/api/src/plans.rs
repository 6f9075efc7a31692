//! Who you are, and what can be bought.
use crate::App;
use crate::answer::Answer;
use crate::auth::Caller;
use axum::Json;
use axum::extract::State;
use kiven_model::api::{DatabaseRequest, Me, PlanView};
use kiven_model::plan::PlanName;
use kiven_model::price::monthly_usd;
use kiven_model::sizing::sizing;
use kiven_model::{EnvironmentId, request};
use kiven_ports::Ports;

/// `GET /v1/me`
pub(crate) async fn me<P: Ports>(State(app): State<App<P>>, caller: Caller) -> Answer<Json<Me>> {
    let organization = caller.organization(&app).await?;
    Ok(Json(Me { organization_id: organization.id, organization_name: organization.name, role: caller.role }))
}

/// `GET /v1/plans`
pub(crate) async fn list<P: Ports>(State(_): State<App<P>>, _: Caller) -> Answer<Json<Vec<PlanView>>> {
    Ok(Json(PlanName::ALL.into_iter().filter_map(view).collect()))
}

/// A plan with its defaults; `custom` has no size of its own to list.
fn view(name: PlanName) -> Option<PlanView> {
    let size = name.size()?;
    let environment_id = EnvironmentId::from_random([0; 16]).to_string();
    let sample = DatabaseRequest { name: "plan".to_owned(), plan: name.to_string(), environment_id, ..DatabaseRequest::default() };
    let spec = request::database(&sample, &[]).ok()?;
    Some(PlanView {
        name,
        vcpu: size.vcpu,
        memory_gib: size.memory_gib,
        storage_gb: size.storage_gb,
        instances: size.instances,
        node_type: sizing(&spec)?.node.node_type.to_owned(),
        monthly_cost_usd: monthly_usd(&spec),
    })
}
