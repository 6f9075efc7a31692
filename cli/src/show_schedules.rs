//! What people see of power schedules: pure functions from views to text.
use crate::show::{Names, dollars, named};
use crate::table::{fields, table};
use kiven_model::api::ScheduleView;
use kiven_model::database::Power;
use kiven_model::schedule::{Day, Exception, NextSwitch, PowerEvent, Window};

/// Databases that a table names; the others are counted.
const NAMED_MAX: usize = 3;

/// The next time the power changes.
pub(crate) fn switch(next: &NextSwitch) -> String {
    let word = match next.power {
        Power::On => "on",
        Power::Off => "off",
    };
    format!("{word} at {}", next.at)
}

fn told(value: Option<impl ToString>) -> String {
    value.map_or(String::new(), |value| value.to_string())
}

fn days(days: &[Day]) -> String {
    let mut days = days.to_vec();
    days.sort();
    days.iter().map(|day| day.as_str()).collect::<Vec<_>>().join(",")
}

fn window(window: &Window) -> String {
    format!("{} {}", days(&window.days), window.hours)
}

fn exception(exception: &Exception) -> String {
    format!("{} {}", exception.date, exception.on.map_or("off".to_owned(), |hours| hours.to_string()))
}

fn databases(schedule: &ScheduleView, names: &Names, most: usize) -> String {
    let all = &schedule.spec.database_ids;
    let mut text = all.iter().take(most).map(|id| named(names, id.as_str())).collect::<Vec<_>>().join(", ");
    if all.len() > most {
        text.push_str(&format!(" and {} more", all.len() - most));
    }
    text
}

/// A table of schedules.
pub(crate) fn schedules(list: &[ScheduleView], names: &Names) -> String {
    if list.is_empty() {
        return "There are no power schedules. Declare a `kiven_power_schedule` in Terraform and apply it; examples/schedule shows how.\n".to_owned();
    }
    let row = |s: &ScheduleView| {
        vec![
            databases(s, names, NAMED_MAX),
            s.spec.time_zone.to_string(),
            if s.spec.enabled { "yes" } else { "no" }.to_owned(),
            told(s.next_on),
            told(s.next_off),
            format!("{:.1}", s.hours_per_week),
            dollars(s.savings_usd_per_month),
            s.id.to_string(),
        ]
    };
    let rows: Vec<_> = list.iter().map(row).collect();
    table(&["DATABASES", "TIME ZONE", "ENABLED", "NEXT ON", "NEXT OFF", "HOURS/WEEK", "SAVES USD/MONTH", "ID"], &rows)
}

/// Everything of one schedule.
pub(crate) fn schedule(s: &ScheduleView, names: &Names) -> String {
    let joined = |all: Vec<String>| all.join("; ");
    fields(&[
        ("id", s.id.to_string()),
        ("databases", databases(s, names, usize::MAX)),
        ("time_zone", s.spec.time_zone.to_string()),
        ("windows", joined(s.spec.windows.iter().map(window).collect())),
        ("exceptions", joined(s.spec.exceptions.iter().map(exception).collect())),
        ("ready_by", s.spec.ready_by.to_string()),
        ("enabled", s.spec.enabled.to_string()),
        ("next_on", told(s.next_on)),
        ("next_off", told(s.next_off)),
        ("hours_per_week", format!("{:.1}", s.hours_per_week)),
        ("saves", format!("{:.1} % of compute, {} USD a month at most", s.savings_percent, dollars(s.savings_usd_per_month))),
    ])
}

/// Decisions, a line each.
pub(crate) fn events(list: &[PowerEvent]) -> String {
    if list.is_empty() {
        return "No schedule has decided anything yet. Decisions are kept for 90 days.\n".to_owned();
    }
    let row = |event: &PowerEvent| {
        let operation = event.operation_id.as_ref().map_or(String::new(), ToString::to_string);
        vec![format!("{:.0}", event.at), event.kind.as_str().to_owned(), event.reason.clone(), operation]
    };
    let rows: Vec<_> = list.iter().map(row).collect();
    table(&["AT", "DECISION", "WHY", "OPERATION"], &rows)
}

#[cfg(test)]
mod tests {
    use super::*;
    use kiven_model::{DatabaseId, ScheduleId};
    use serde_json::json;

    fn view() -> ScheduleView {
        serde_json::from_value(json!({
            "id": ScheduleId::from_random([3; 16]), "database_ids": [DatabaseId::from_random([7; 16])], "time_zone": "Europe/Paris",
            "windows": [{ "days": ["fri", "mon"], "start": "08:00", "end": "18:00" }],
            "exceptions": [{ "date": "2026-12-25", "on": null }, { "date": "2026-12-24", "on": { "start": "08:00", "end": "12:00" } }],
            "ready_by": true, "enabled": true, "next_on": "2026-03-30T06:00:00Z", "next_off": null,
            "hours_per_week": 20.0, "savings_percent": 88.1, "savings_usd_per_month": 97.5,
            "created_at": "2026-01-01T00:00:00Z", "updated_at": "2026-01-01T00:00:00Z",
        }))
        .unwrap()
    }

    fn names() -> Names {
        [(DatabaseId::from_random([7; 16]).to_string(), "shop".to_owned())].into()
    }

    #[test]
    fn schedules_are_a_table() {
        expect_test::expect![[r#"
            DATABASES  TIME ZONE     ENABLED  NEXT ON               NEXT OFF  HOURS/WEEK  SAVES USD/MONTH  ID
            shop       Europe/Paris  yes      2026-03-30T06:00:00Z            20.0        97.50            sched_3r06g1c03r06g1c03r06
        "#]]
        .assert_eq(&schedules(&[view()], &names()));
        assert!(schedules(&[], &names()).contains("examples/schedule"));
    }

    #[test]
    fn a_schedule_is_shown_whole() {
        let text = schedule(&view(), &names());
        for part in ["mon,fri 08:00–18:00", "2026-12-25 off; 2026-12-24 08:00–12:00", "88.1 % of compute, 97.50 USD"] {
            assert!(text.contains(part), "{text}");
        }
    }

    #[test]
    fn decisions_say_why() {
        let event = json!({
            "at": "2026-03-27T17:00:01Z", "schedule_id": ScheduleId::from_random([3; 16]), "kind": "pause",
            "reason": "scheduled pause of Fri 2026-03-27 18:00 Europe/Paris: begins", "operation_id": null,
        });
        let text = events(&[serde_json::from_value(event).unwrap()]);
        assert!(text.contains("2026-03-27T17:00:01Z  pause     scheduled pause of Fri"), "{text}");
        assert_eq!(switch(&NextSwitch { at: "2026-03-30T06:00:00Z".parse().unwrap(), power: Power::On }), "on at 2026-03-30T06:00:00Z");
    }
}
