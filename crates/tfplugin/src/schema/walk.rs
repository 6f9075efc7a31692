//! Walking a value along its schema: each attribute with its path.
use super::Attr;
use super::attr::Way;
use crate::{Path, Value};

/// Sees an attribute with its value and path.
type Visit<'a, 'v> = &'v mut dyn FnMut(&'a Attr, &Value, &Path) -> bool;
/// Changes an attribute's plan beside its prior value, its configuration, and what its neighbours were planned to be.
type Change<'v> = &'v mut dyn FnMut(&Attr, &mut Value, &Value, &Value, &Value);

/// Calls `visit` for each attribute of a value and for those inside of it; `visit` answers whether to go inside.
pub(super) fn values<'a>(attributes: &'a [Attr], value: &Value, at: &Path, visit: Visit<'a, '_>) {
    for attribute in attributes {
        let (member, path) = (value.get(attribute.name), at.clone().attr(attribute.name));
        if !visit(attribute, member, &path) {
            continue;
        }
        let Some((way, members)) = attribute.shape.members() else { continue };
        match way {
            Way::One if member.as_members().is_some() => values(members, member, &path, visit),
            Way::One => {}
            Way::Items => {
                for (index, item) in (0..).zip(member.as_items().unwrap_or_default()) {
                    values(members, item, &path.clone().index(index), visit);
                }
            }
            // Elements of a set have no path of their own: what is found in one is told of the set.
            Way::Distinct => {
                for item in member.as_items().unwrap_or_default() {
                    values(members, item, &path, &mut |attribute, value, _| visit(attribute, value, &path));
                }
            }
            Way::Keyed => {
                for (key, item) in member.as_members().into_iter().flatten() {
                    values(members, item, &path.clone().key(key), visit);
                }
            }
        }
    }
}

/// Calls `change` for each attribute of a plan beside the same of the prior state and of the configuration. Elements of
/// lists are paired by index, those of maps by key; those of sets have no partner in the prior state.
pub(super) fn plans(attributes: &[Attr], plan: &mut Value, prior: &Value, config: &Value, change: Change<'_>) {
    // What an attribute's neighbours are planned to be, before any of them is changed here.
    let before = plan.clone();
    let Value::Object(all) = plan else { return };
    for attribute in attributes {
        let Some(member) = all.get_mut(attribute.name) else { continue };
        let (prior, config) = (prior.get(attribute.name), config.get(attribute.name));
        change(attribute, member, prior, config, &before);
        let Some((way, members)) = attribute.shape.members() else { continue };
        let nothing = Value::Null;
        let other = |from: &'_ Value, index: usize| -> Value { from.as_items().and_then(|all| all.get(index)).cloned().unwrap_or_default() };
        match (way, member) {
            (Way::One, member) => plans(members, member, prior, config, change),
            (Way::Items, Value::List(items)) => {
                for (index, item) in items.iter_mut().enumerate() {
                    plans(members, item, &other(prior, index), &other(config, index), change);
                }
            }
            // An element of a set that the configuration has written is its own configuration.
            (Way::Distinct, Value::Set(items)) => {
                for item in items {
                    let config = item.clone();
                    plans(members, item, &nothing, &config, change);
                }
            }
            (Way::Keyed, Value::Map(items)) => {
                for (key, item) in items.iter_mut() {
                    plans(members, item, prior.get(key), config.get(key), change);
                }
            }
            (Way::Items | Way::Distinct | Way::Keyed, _) => {}
        }
    }
}
