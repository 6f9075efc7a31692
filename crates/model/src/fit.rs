//! From what is needed to what to ask for: the cheapest plan, or plan `custom` with its size.
use crate::database::CustomSize;
use crate::plan::{PlanName, PlanSize};
use crate::price;
use crate::sizing::{NodeClass, node_class};

/// What is needed at least.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Need {
    /// CPU in cores.
    pub vcpu: u32,
    /// PostgreSQL's memory in GiB.
    pub memory_gib: u32,
    /// Volume size of each instance in GB.
    pub storage_gb: Option<u32>,
    /// Instances, the primary included.
    pub instances: Option<u8>,
}

/// What gives it.
#[derive(Debug, Clone, PartialEq)]
pub struct Fit {
    /// The plan.
    pub plan: PlanName,
    /// The size, for plan `custom` only.
    pub custom: Option<CustomSize>,
    /// Volume size of each instance in GB.
    pub storage_gb: u32,
    /// Instances, the primary included.
    pub instances: u8,
    /// The node class under each instance.
    pub node: NodeClass,
    /// USD a month when always on, at most.
    pub monthly_usd: f64,
}

/// The cheapest that gives what is needed; a plan of its own name goes before an equally dear `custom`. Storage and instances
/// that are left open are those of the smallest plan that is as large. `None` when no node type holds it.
#[must_use]
pub fn plan_for(need: &Need) -> Option<Fit> {
    let large_enough = |size: &PlanSize| size.vcpu >= need.vcpu && size.memory_gib >= need.memory_gib;
    let named: Vec<(PlanName, PlanSize)> = PlanName::ALL.into_iter().filter_map(|plan| Some((plan, plan.size()?))).collect();
    let (_, like) = named.iter().find(|(_, size)| large_enough(size)).or(named.last())?;
    let (storage_gb, instances) = (need.storage_gb.unwrap_or(like.storage_gb), need.instances.unwrap_or(like.instances));
    let fit = |plan: PlanName, size: &PlanSize, storage_gb: u32, instances: u8| {
        let node = node_class(size.vcpu, size.memory_gib, plan.burstable())?;
        let monthly_usd = price::monthly_usd_of(node.usd_per_hour, storage_gb, instances, price::HOURS_PER_WEEK);
        let custom = (plan == PlanName::Custom).then_some(CustomSize { vcpu: size.vcpu, memory_gib: size.memory_gib });
        Some(Fit { plan, custom, storage_gb, instances, node, monthly_usd })
    };
    let of_plan = |(plan, size): &(PlanName, PlanSize)| fit(*plan, size, storage_gb.max(size.storage_gb), instances);
    let own = PlanSize { vcpu: need.vcpu, memory_gib: need.memory_gib, storage_gb, instances };
    let plans = named.iter().filter(|(_, size)| large_enough(size)).filter_map(of_plan);
    // `min_by` takes the first of equals, so `custom` comes last.
    plans.chain(fit(PlanName::Custom, &own, storage_gb, instances)).min_by(|a, b| a.monthly_usd.total_cmp(&b.monthly_usd))
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::expect;

    fn told(vcpu: u32, memory_gib: u32, storage_gb: Option<u32>, instances: Option<u8>) -> String {
        plan_for(&Need { vcpu, memory_gib, storage_gb, instances }).map_or("nothing\n".to_owned(), |fit| {
            let Fit { plan, custom, storage_gb, instances, node, monthly_usd } = fit;
            let custom = custom.map_or(String::new(), |size| format!(" {}/{}", size.vcpu, size.memory_gib));
            format!("{plan}{custom}, {storage_gb} GB, {instances} on {} for {monthly_usd}\n", node.node_type)
        })
    }

    #[test]
    fn the_cheapest_that_is_enough() {
        let all = [
            told(1, 1, None, None),
            told(2, 3, None, None),
            told(2, 8, None, None),
            told(4, 16, None, None),
            told(4, 16, Some(50), Some(2)),
            told(8, 32, Some(1000), None),
            told(8, 48, None, Some(1)),
            told(1, 1, Some(20), Some(3)),
            told(16, 8, None, None),
        ];
        expect![[r#"
            hobbyist, 10 GB, 1 on t4g.medium for 28.22
            startup, 50 GB, 2 on m6g.large for 136.75
            custom 2/8, 100 GB, 3 on r6g.large for 278.2
            business, 100 GB, 3 on r6g.xlarge for 525.4
            custom 4/16, 50 GB, 2 on r6g.xlarge for 340.7
            premium, 1000 GB, 3 on r6g.2xlarge for 1298.8
            custom 8/48, 500 GB, 1 on r6g.2xlarge for 396.6
            hobbyist, 20 GB, 3 on t4g.medium for 86.85
            nothing
        "#]]
        .assert_eq(&all.concat());
    }

    #[test]
    fn every_plan_is_the_answer_to_its_own_size() {
        for plan in PlanName::ALL {
            let Some(size) = plan.size() else { continue };
            let need = Need { vcpu: size.vcpu, memory_gib: size.memory_gib, storage_gb: None, instances: None };
            let fit = plan_for(&need).unwrap();
            assert_eq!((fit.plan, fit.storage_gb, fit.instances), (plan, size.storage_gb, size.instances));
        }
    }
}
