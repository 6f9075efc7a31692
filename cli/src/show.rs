//! What people see of answers: pure functions from views to text. Empty lists say what to do.
use crate::table::{fields, table};
use kiven_model::api::{CheckView, DatabaseView, DriftView, EnvironmentView, OperationView, OrphanView, OrphansView, PlanView};
use kiven_model::environment::NODE_GROUP_QUOTA;
use kiven_model::operation::{EventKind, OperationEvent, Subject};
use kiven_model::preflight::Gravity;
use kiven_model::{Problem, lifecycle::DatabaseStatus};
use std::collections::BTreeMap;

/// Names by id, so that lists show what people call things.
pub(crate) type Names = BTreeMap<String, String>;

pub(crate) fn named(names: &Names, id: &str) -> String {
    names.get(id).cloned().unwrap_or_else(|| id.to_owned())
}

pub(crate) fn dollars(amount: f64) -> String {
    format!("{amount:.2}")
}

fn told(problem: Option<&Problem>) -> String {
    problem.map_or(String::new(), |p| {
        let words: Vec<&str> = [p.message.as_str(), p.detail.as_str(), p.hint.as_str()].into_iter().filter(|text| !text.is_empty()).collect();
        format!("{} ({}, see docs/errors/{}.md)", words.join(" "), p.code, p.code)
    })
}

/// A table of databases.
pub(crate) fn databases(list: &[DatabaseView], environments: &Names) -> String {
    if list.is_empty() {
        return "There are no databases. Declare a `kiven_database` in Terraform and apply it; examples/quickstart shows how.\n".to_owned();
    }
    let row = |d: &DatabaseView| {
        vec![
            d.spec.name.to_string(),
            d.status.to_string(),
            d.spec.plan.to_string(),
            d.spec.postgres_version.to_string(),
            d.spec.instances.to_string(),
            format!("{} GB", d.spec.storage_gb),
            named(environments, d.spec.environment_id.as_str()),
            dollars(d.monthly_cost_usd),
            d.id.to_string(),
        ]
    };
    let rows: Vec<_> = list.iter().map(row).collect();
    table(&["NAME", "STATUS", "PLAN", "VERSION", "INSTANCES", "STORAGE", "ENVIRONMENT", "USD/MONTH", "ID"], &rows)
}

/// Everything of one database.
pub(crate) fn database(d: &DatabaseView, environments: &Names) -> String {
    let optional = |value: &Option<String>| value.clone().unwrap_or_default();
    let cost = match d.status {
        DatabaseStatus::Paused => format!("{} USD a month at most when on; paused: data safe, no compute cost", dollars(d.monthly_cost_usd)),
        _ => format!("{} USD a month at most", dollars(d.monthly_cost_usd)),
    };
    fields(&[
        ("name", d.spec.name.to_string()),
        ("id", d.id.to_string()),
        ("status", d.status.to_string()),
        ("environment", named(environments, d.spec.environment_id.as_str())),
        ("plan", d.spec.plan.to_string()),
        ("postgres_version", d.spec.postgres_version.to_string()),
        ("instances", d.spec.instances.to_string()),
        ("storage", format!("{} GB", d.spec.storage_gb)),
        ("node_type", d.node_type.clone()),
        ("cost", cost),
        ("host", format!("{}:{}", d.addresses.host, d.addresses.port)),
        ("pooler_host", format!("{}:{}", d.addresses.pooler_host, d.addresses.port)),
        ("read_only_host", format!("{}:{}", d.addresses.read_only_host, d.addresses.port)),
        ("connection_uri", optional(&d.connection_uri)),
        ("password", format!("in the Secret {} of your cluster", d.password_secret)),
        ("system_identifier", optional(&d.system_identifier)),
        ("deletion_protection", d.spec.deletion_protection.to_string()),
        ("delete_after", d.delete_after.map_or(String::new(), |at| at.to_string())),
        ("schedule", d.schedule_id.as_ref().map_or(String::new(), ToString::to_string)),
        ("next_switch", d.next_switch.as_ref().map_or(String::new(), crate::show_schedules::switch)),
        ("maintenance", if d.maintenance_never { "never: its window opens only while its schedule has it off".to_owned() } else { String::new() }),
        ("operation", d.operation_id.as_ref().map_or(String::new(), ToString::to_string)),
        ("problem", told(d.problem.as_ref())),
    ])
}

/// A table of environments.
pub(crate) fn environments(list: &[EnvironmentView]) -> String {
    if list.is_empty() {
        return "There are no environments. Declare a `kiven_environment` and its connection in Terraform; examples/quickstart shows how.\n"
            .to_owned();
    }
    let row = |e: &EnvironmentView| {
        vec![
            e.name.clone(),
            e.status.as_str().to_owned(),
            e.aws_account_id.clone(),
            e.aws_region.clone(),
            e.eks_cluster_name.clone(),
            e.id.to_string(),
        ]
    };
    let rows: Vec<_> = list.iter().map(row).collect();
    table(&["NAME", "STATUS", "ACCOUNT", "REGION", "EKS CLUSTER", "ID"], &rows)
}

/// Everything of one environment.
pub(crate) fn environment(e: &EnvironmentView) -> String {
    let majors: Vec<String> = e.postgres_versions.iter().map(u32::to_string).collect();
    let connection = e.connection.as_ref();
    let subnets =
        connection.map_or(String::new(), |c| c.subnets.iter().map(|(zone, subnet)| format!("{zone}={subnet}")).collect::<Vec<_>>().join(", "));
    fields(&[
        ("name", e.name.clone()),
        ("id", e.id.to_string()),
        ("status", e.status.as_str().to_owned()),
        ("aws_account_id", e.aws_account_id.clone()),
        ("aws_region", e.aws_region.clone()),
        ("eks_cluster_name", e.eks_cluster_name.clone()),
        ("external_id", e.external_id.clone()),
        ("principal_arn", e.principal_arn.clone()),
        ("role_arn", connection.map_or(String::new(), |c| c.role_arn.clone())),
        ("subnets", subnets),
        ("launch_template", connection.map_or(String::new(), |c| c.launch_template.clone())),
        ("backup_kms_key_arn", connection.and_then(|c| c.backup_kms_key_arn.clone()).unwrap_or_default()),
        ("node_group_quota", connection.and_then(|c| c.node_group_quota).unwrap_or(NODE_GROUP_QUOTA).to_string()),
        ("postgres_versions", majors.join(", ")),
        ("operation", e.operation_id.as_ref().map_or(String::new(), ToString::to_string)),
        ("problem", told(e.problem.as_ref())),
    ])
}

/// An environment as it was found.
pub(crate) fn check(found: &CheckView) -> String {
    let row =
        |drift: &DriftView| vec![drift.kind.clone(), drift.database_id.as_ref().map_or("-".to_owned(), ToString::to_string), drift.what.clone()];
    let rows: Vec<_> = found.drift.iter().map(row).collect();
    let mut text = fields(&[
        ("status", found.status.as_str().to_owned()),
        ("agent last heard", found.agent_seen_at.map_or("never".to_owned(), |at| format!("{at:.0}"))),
        ("cluster last looked at", found.cluster_checked_at.map_or("never".to_owned(), |at| format!("{at:.0}"))),
        ("network isolation", found.network_isolation.clone()),
        ("problem", told(found.problem.as_ref())),
    ]);
    if !rows.is_empty() {
        text.push_str(&table(&["KIND", "DATABASE", "WHAT"], &rows));
    } else if found.problem.is_none() {
        text.push_str("Everything is as Kiven made it.\n");
    }
    for unseen in &found.unseen {
        text.push_str(&format!("Not seen: {unseen}\n"));
    }
    for finding in &found.cluster {
        let word = match finding.gravity {
            Gravity::Blocks => "Blocks databases",
            Gravity::Warns => "Warning",
            Gravity::Tells => "Note",
        };
        text.push_str(&format!("{word}: {}. {}\n", finding.message, finding.hint));
    }
    text
}

/// What nothing explains.
pub(crate) fn orphans(found: &OrphansView) -> String {
    let row = |orphan: &OrphanView| {
        let cost = orphan.usd_per_month.map_or("by its content".to_owned(), |usd| format!("{usd:.2}"));
        vec![orphan.kind.clone(), orphan.name.clone(), cost, orphan.why.clone()]
    };
    let rows: Vec<_> = found.orphans.iter().map(row).collect();
    let mut text = if rows.is_empty() {
        "There are no orphans: a database or an environment explains everything.\n".to_owned()
    } else {
        format!("{}{:.2} USD a month at most\n", table(&["KIND", "NAME", "USD/MONTH", "WHY"], &rows), found.usd_per_month)
    };
    for unseen in &found.unseen {
        text.push_str(&format!("Not seen: {unseen}\n"));
    }
    text
}

/// A table of plans.
pub(crate) fn plans(list: &[PlanView]) -> String {
    let row = |p: &PlanView| {
        vec![
            p.name.to_string(),
            p.vcpu.to_string(),
            format!("{} GiB", p.memory_gib),
            format!("{} GB", p.storage_gb),
            p.instances.to_string(),
            p.node_type.clone(),
            dollars(p.monthly_cost_usd),
        ]
    };
    let rows: Vec<_> = list.iter().map(row).collect();
    let table = table(&["PLAN", "VCPU", "MEMORY", "STORAGE", "INSTANCES", "NODE TYPE", "USD/MONTH"], &rows);
    format!("{table}\nCosts are at most, always on. Plan `custom` takes vCPU, memory, storage and instances of your own.\n")
}

/// What an operation is about, by name.
pub(crate) fn subject(operation: &OperationView, names: &Names) -> String {
    match &operation.subject {
        Subject::Environment(id) => named(names, id.as_str()),
        Subject::Database(id) => named(names, id.as_str()),
    }
}

/// A table of operations.
pub(crate) fn operations(list: &[OperationView], names: &Names) -> String {
    if list.is_empty() {
        return "There are no operations. One starts when Terraform applies a change, or with `kiven databases pause NAME`.\n".to_owned();
    }
    let row = |o: &OperationView| {
        let step = if o.status.over() { String::new() } else { o.current_step.clone().unwrap_or_default() };
        let code = o.problem.as_ref().map_or(String::new(), |problem| problem.code.to_string());
        vec![
            o.kind.as_str().to_owned(),
            subject(o, names),
            o.status.as_str().to_owned(),
            step,
            code,
            format!("{:.0}", o.created_at),
            o.id.to_string(),
        ]
    };
    let rows: Vec<_> = list.iter().map(row).collect();
    table(&["KIND", "OF", "STATUS", "STEP", "CODE", "STARTED", "ID"], &rows)
}

/// One line of progress; `seconds` since the operation's first event.
pub(crate) fn progress(event: &OperationEvent, seconds: f64) -> String {
    let mark = match event.kind {
        EventKind::StepStarted => "begin",
        EventKind::StepWaiting => "wait",
        EventKind::StepDone => "done",
        EventKind::StepRetried => "retry",
        EventKind::StepUndone => "undone",
        EventKind::Ended => "end",
        EventKind::Unwinding => "back",
    };
    let step = event.step.as_deref().unwrap_or_default();
    // Messages begin with the step's name in words: once is enough.
    let words = step.split('/').next().unwrap_or_default().replace('_', " ");
    let message = event.message.strip_prefix(&words).map_or(event.message.as_str(), |rest| rest.trim_start_matches([':', ' ']));
    format!("{seconds:>7.1}s  {mark:<6}  {step:<26}  {message}").trim_end().to_owned() + "\n"
}

#[cfg(test)]
#[path = "show_tests.rs"]
pub(crate) mod tests;
