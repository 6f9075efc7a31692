//! `monthly_cost(plan, instances, storage_gb, hours_per_week)`: what a database costs a month on the customer's AWS bill.
use super::{text, whole};
use kiven_model::plan::PlanName;
use kiven_model::price::{HOURS_PER_WEEK, monthly_usd_of};
use kiven_model::request::{INSTANCES_MAX, STORAGE_GB_MAX};
use kiven_model::sizing::{NODE_CLASSES, NodeClass, node_class};
use kiven_tfplugin::{Function, FunctionError, Parameter, Signature, Type, Value};

/// The function.
pub(crate) struct MonthlyCost;

impl Function for MonthlyCost {
    fn signature(&self) -> Signature {
        let number = |name, text: &str| Parameter::new(name, Type::Number).describe(text);
        Signature::new(Type::Number)
            .describe(
                "What a database costs a month",
                "USD a month on your own AWS bill, at most: the dearest listed node type for every instance, full volumes, full archive. Nodes are \
                 paid for while the database is on; storage and backups always.",
            )
            .parameter(
                Parameter::new("plan", Type::String)
                    .describe("A plan's name or, for plan `custom`, the node type, as `node_type` of a `kiven_database` or of `plan_for` has it."),
            )
            .parameter(number("instances", "Instances, the primary included."))
            .parameter(number("storage_gb", "Volume size of each instance in GB."))
            .parameter(number("hours_per_week", "Hours of a week in which it is on: 168 for always, or what `schedule_hours` gives."))
    }

    fn call(&self, arguments: &[Value]) -> Result<Value, FunctionError> {
        let node = node_of(text(arguments, 0)).map_err(|why| FunctionError::of_argument(0, why))?;
        let instances = whole(arguments, 1, "instances", 1..=INSTANCES_MAX)?;
        let storage = whole(arguments, 2, "storage_gb", 1..=STORAGE_GB_MAX)?;
        let hours = match arguments.get(3) {
            Some(Value::Number(number)) => number.to_string().parse().unwrap_or(f64::NAN),
            _ => f64::NAN,
        };
        if !(0.0..=HOURS_PER_WEEK).contains(&hours) {
            return Err(FunctionError::of_argument(3, format!("hours_per_week must be a number from 0 to {HOURS_PER_WEEK}")));
        }
        Ok(monthly_usd_of(node.usd_per_hour, storage, u8::try_from(instances).unwrap_or(u8::MAX), hours).into())
    }
}

/// The node class of a plan, or of a node type's name.
fn node_of(word: &str) -> Result<NodeClass, String> {
    let plan = PlanName::parse(word);
    if let Some(node) = plan.and_then(|plan| plan.size().and_then(|size| node_class(size.vcpu, size.memory_gib, plan.burstable()))) {
        return Ok(node);
    }
    if plan == Some(PlanName::Custom) {
        return Err("a custom size has the price of its node type: write that, as `plan_for(…).node_type` gives it".to_owned());
    }
    let of_type = NODE_CLASSES.into_iter().find(|class| class.node_types.contains(&word));
    let plans = PlanName::ALL.into_iter().filter(|plan| plan.size().is_some()).map(PlanName::as_str).collect::<Vec<_>>().join(", ");
    let types = NODE_CLASSES.map(|class| class.node_type).join(", ");
    of_type.ok_or_else(|| format!("`{word}` is no plan ({plans}) and no node type ({types})"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::functions::tests::called;

    fn of(plan: &str, instances: f64, storage_gb: f64, hours: f64) -> Result<Value, String> {
        called(&MonthlyCost, &[plan.into(), instances.into(), storage_gb.into(), hours.into()])
    }

    #[test]
    fn nodes_by_the_hour_and_storage_always() {
        assert_eq!(of("startup", 2.0, 50.0, 168.0), Ok(Value::from(136.75)));
        assert_eq!(of("m6g.large", 2.0, 50.0, 168.0), of("startup", 2.0, 50.0, 168.0));
        assert_eq!(of("startup", 2.0, 50.0, 0.0), Ok(Value::from(11.1)));
        assert_eq!(of("startup", 2.0, 50.0, 50.0), Ok(Value::from(48.49)));
    }

    #[test]
    fn what_costs_nothing_known_is_told_by_argument() {
        assert!(of("custom", 1.0, 10.0, 168.0).unwrap_err().starts_with("0: a custom size has the price of its node type"));
        assert!(of("huge", 1.0, 10.0, 168.0).unwrap_err().starts_with("0: `huge` is no plan (hobbyist, startup, business, premium)"));
        assert_eq!(of("startup", 0.0, 10.0, 168.0).unwrap_err(), "1: instances must be a whole number from 1 to 5");
        assert_eq!(of("startup", 1.0, 0.5, 168.0).unwrap_err(), "2: storage_gb must be a whole number from 1 to 16384");
        assert_eq!(of("startup", 1.0, 10.0, 168.5).unwrap_err(), "3: hours_per_week must be a number from 0 to 168");
    }
}
