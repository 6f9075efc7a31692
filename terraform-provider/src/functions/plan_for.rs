//! `plan_for(vcpu, memory_gib, storage_and_instances...)`: what to write into a `kiven_database`.
use super::whole;
use kiven_model::fit::{Fit, Need, plan_for};
use kiven_model::request::{INSTANCES_MAX, STORAGE_GB_MAX};
use kiven_tfplugin::{Function, FunctionError, Parameter, Signature, Type, Value};

/// Far above every node type.
const VCPU_MAX: u32 = 1_024;
/// Far above every node type.
const MEMORY_GIB_MAX: u32 = 65_536;
/// The smallest volume, in GB.
const STORAGE_GB_MIN: u32 = 10;

/// The function.
pub(crate) struct PlanFor;

impl Function for PlanFor {
    fn signature(&self) -> Signature {
        let custom = Type::Object([("vcpu", Type::Number), ("memory_gib", Type::Number)].map(|(name, of)| (name.to_owned(), of)).into());
        let result = [
            ("plan", Type::String),
            ("custom", custom),
            ("storage_gb", Type::Number),
            ("instances", Type::Number),
            ("node_type", Type::String),
            ("monthly_cost_usd", Type::Number),
        ];
        Signature::new(Type::Object(result.map(|(name, of)| (name.to_owned(), of)).into()))
            .describe(
                "The cheapest plan of a size",
                "Finds the cheapest plan that gives PostgreSQL at least this much, or plan `custom` where that costs less. The result has `plan`, \
                 `custom` (null unless the plan is `custom`), `storage_gb` and `instances` as a `kiven_database` takes them, and `node_type` and \
                 `monthly_cost_usd` as it will have them.",
            )
            .parameter(Parameter::new("vcpu", Type::Number).describe("CPU in cores."))
            .parameter(Parameter::new("memory_gib", Type::Number).describe("PostgreSQL's memory in GiB."))
            .variadic(Parameter::new("storage_and_instances", Type::Number).describe(
                "The volume size of each instance in GB, then the instances, the primary included. Left out, they are those of the smallest plan \
                 that is as large.",
            ))
    }

    fn call(&self, arguments: &[Value]) -> Result<Value, FunctionError> {
        let given = |position: usize, what: &str, range| arguments.get(position).map(|_| whole(arguments, position, what, range)).transpose();
        let instances = given(3, "instances", 1..=INSTANCES_MAX)?;
        let need = Need {
            vcpu: whole(arguments, 0, "vcpu", 1..=VCPU_MAX)?,
            memory_gib: whole(arguments, 1, "memory_gib", 1..=MEMORY_GIB_MAX)?,
            storage_gb: given(2, "storage_gb", STORAGE_GB_MIN..=STORAGE_GB_MAX)?,
            instances: instances.and_then(|count| u8::try_from(count).ok()),
        };
        if arguments.len() > 4 {
            return Err(FunctionError::of_argument(4, "nothing follows the instances"));
        }
        let none = || FunctionError::new(format!("No node type holds {} vCPU and {} GiB.", need.vcpu, need.memory_gib));
        let Fit { plan, custom, storage_gb, instances, node, monthly_usd } = plan_for(&need).ok_or_else(none)?;
        let custom = custom.map(|size| Value::object([("vcpu", i64::from(size.vcpu).into()), ("memory_gib", i64::from(size.memory_gib).into())]));
        Ok(Value::object([
            ("plan", plan.as_str().into()),
            ("custom", custom.into()),
            ("storage_gb", i64::from(storage_gb).into()),
            ("instances", i64::from(instances).into()),
            ("node_type", node.node_type.into()),
            ("monthly_cost_usd", monthly_usd.into()),
        ]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::functions::tests::called;

    fn of(numbers: &[f64]) -> Result<Value, String> {
        called(&PlanFor, &numbers.iter().map(|number| Value::from(*number)).collect::<Vec<_>>())
    }

    #[test]
    fn a_plan_or_a_size_of_its_own() {
        let startup = of(&[2.0, 4.0]).unwrap();
        assert_eq!((startup.get("plan").as_str(), startup.get("custom").is_null()), (Some("startup"), true));
        assert_eq!((startup.get("storage_gb").as_i64(), startup.get("instances").as_i64()), (Some(50), Some(2)));
        let own = of(&[2.0, 8.0, 200.0, 3.0]).unwrap();
        assert_eq!((own.get("plan").as_str(), own.get("node_type").as_str()), (Some("custom"), Some("r6g.large")));
        assert_eq!(own.get("custom"), &Value::object([("vcpu", Value::from(2)), ("memory_gib", Value::from(8))]));
    }

    #[test]
    fn what_no_plan_can_be_is_told_by_argument() {
        for (numbers, expected) in [
            (vec![0.0, 1.0], "0: vcpu must be a whole number from 1 to 1024"),
            (vec![1.5, 1.0], "0: vcpu must be a whole number from 1 to 1024"),
            (vec![1.0, -1.0], "1: memory_gib must be a whole number from 1 to 65536"),
            (vec![1.0, 1.0, 5.0], "2: storage_gb must be a whole number from 10 to 16384"),
            (vec![1.0, 1.0, 10.0, 6.0], "3: instances must be a whole number from 1 to 5"),
            (vec![1.0, 1.0, 10.0, 1.0, 1.0], "4: nothing follows the instances"),
            (vec![64.0, 512.0], "-: No node type holds 64 vCPU and 512 GiB."),
        ] {
            assert_eq!(of(&numbers).unwrap_err(), expected);
        }
    }
}
