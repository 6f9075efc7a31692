//! Every rule of a schedule's validation as a row: the change, and what it is answered with.
use super::*;
use crate::DatabaseId;
use serde_json::json;

fn window(days: &[&str], start: &str, end: &str) -> WindowRequest {
    WindowRequest { days: days.iter().map(|day| (*day).to_owned()).collect(), start: start.into(), end: end.into() }
}

fn exception(date: &str, on: Option<(&str, &str)>) -> ExceptionRequest {
    ExceptionRequest { date: date.into(), on: on.map(|(start, end)| HoursRequest { start: start.into(), end: end.into() }) }
}

fn good() -> ScheduleRequest {
    ScheduleRequest {
        database_ids: vec![DatabaseId::from_random([1; 16]).to_string()],
        time_zone: "Europe/Paris".into(),
        windows: vec![window(&["mon", "tue", "wed", "thu", "fri"], "08:00", "18:00")],
        ..ScheduleRequest::default()
    }
}

fn check(change: impl FnOnce(&mut ScheduleRequest), expected: &[&str]) {
    let mut request = good();
    change(&mut request);
    let found = match request.validate() {
        Ok(_) => Vec::new(),
        Err(violations) => violations.iter().map(|v| format!("{} {}", v.code, v.field)).collect(),
    };
    assert_eq!(found, expected, "{request:?}");
}

/// Two windows, and whether they may stand together.
fn check_pair(one: WindowRequest, other: WindowRequest, expected: &[&str]) {
    check(|r| r.windows = vec![one.clone(), other.clone()], expected);
    check(|r| r.windows = vec![other, one], expected);
}

#[test]
fn databases_zone_and_windows_are_checked() {
    check(|_| {}, &[]);
    check(|r| r.database_ids.clear(), &["KV-129 database_ids"]);
    check(|r| r.database_ids.push("db_1".into()), &["KV-123 database_ids.1"]);
    check(|r| r.database_ids.push(r.database_ids[0].clone()), &["KV-129 database_ids.1"]);
    check(|r| r.database_ids = vec![String::new(); DATABASES_MAX + 1], &["KV-129 database_ids"]);
    for zone in ["", "CEST", "Europe/Pariss", "europe/paris", "+02:00", "EST5EDT,M3.2.0,M11.1.0", "Etc/Unknown", "../etc/passwd"] {
        check(|r| r.time_zone = zone.into(), &["KV-125 time_zone"]);
    }
    for zone in ["UTC", "Etc/UTC", "America/Argentina/Buenos_Aires", "Asia/Calcutta", "Asia/Kolkata"] {
        check(|r| r.time_zone = zone.into(), &[]);
    }
    check(|r| r.windows.clear(), &["KV-126 windows"]);
    check(|r| r.windows = vec![window(&[], "", ""); WINDOWS_MAX + 1], &["KV-126 windows"]);
    check(|r| r.windows[0].days.clear(), &["KV-126 windows.0.days"]);
    check(|r| r.windows[0].days.push("mon".into()), &["KV-126 windows.0.days.5"]);
    check(|r| r.windows[0].days.push("Sunday".into()), &["KV-126 windows.0.days.5"]);
    for wrong in ["", "8:00", "08.00", "24:01", "12:60", "+8:00", "08:00:00", "ab:cd", "0８:0"] {
        check(|r| r.windows[0].start = wrong.into(), &["KV-126 windows.0.start"]);
        check(|r| r.windows[0].end = wrong.into(), &["KV-126 windows.0.end"]);
    }
    check(|r| r.windows[0].start = "24:00".into(), &["KV-126 windows.0.start"]);
    check(|r| r.windows[0].end = "24:00".into(), &[]);
    check(|r| r.windows[0].end = "08:00".into(), &["KV-126 windows.0.end"]);
    check(|r| (r.windows[0].start, r.windows[0].end) = ("00:00".into(), "24:00".into()), &[]);
}

#[test]
fn the_meant_zone_is_named() {
    let violations = ScheduleRequest { time_zone: "europe/paris".into(), ..good() }.validate().unwrap_err();
    assert_eq!(violations[0].hint, "Did you mean `Europe/Paris`?");
}

#[test]
fn windows_may_touch_but_not_overlap_across_midnight_and_the_week_s_end_too() {
    let overlap = &["KV-127 windows.1"][..];
    check_pair(window(&["mon"], "08:00", "12:00"), window(&["mon"], "12:00", "18:00"), &[]);
    check_pair(window(&["mon"], "08:00", "12:01"), window(&["mon"], "12:00", "18:00"), overlap);
    check_pair(window(&["mon"], "08:00", "18:00"), window(&["mon"], "09:00", "10:00"), overlap);
    check_pair(window(&["mon"], "08:00", "18:00"), window(&["tue"], "08:00", "18:00"), &[]);
    check_pair(window(&["mon"], "22:00", "06:00"), window(&["tue"], "06:00", "08:00"), &[]);
    check_pair(window(&["mon"], "22:00", "06:00"), window(&["tue"], "05:59", "08:00"), overlap);
    check_pair(window(&["sun"], "22:00", "06:00"), window(&["mon"], "06:00", "08:00"), &[]);
    check_pair(window(&["sun"], "22:00", "06:00"), window(&["mon"], "00:00", "24:00"), overlap);
    check_pair(window(&["sun"], "00:00", "24:00"), window(&["mon"], "00:00", "24:00"), &[]);
    check_pair(window(&["mon"], "08:00", "07:59"), window(&["tue"], "07:59", "08:00"), &[]);
}

#[test]
fn exceptions_are_checked_and_everything_is_told_at_once() {
    check(|r| r.exceptions = vec![exception("2026-12-25", None), exception("2026-12-24", Some(("08:00", "12:00")))], &[]);
    for wrong in ["", "25.12.2026", "20261225", "2026-02-29", "2026-12-25T00:00", "1999-12-31", "2101-01-01"] {
        check(|r| r.exceptions = vec![exception(wrong, None)], &["KV-128 exceptions.0.date"]);
    }
    check(|r| r.exceptions = vec![exception("2026-12-25", None); 2], &["KV-128 exceptions.1.date"]);
    check(|r| r.exceptions = vec![exception("2026-12-25", Some(("8", "9")))], &["KV-128 exceptions.0.on.start", "KV-128 exceptions.0.on.end"]);
    check(|r| r.exceptions = vec![exception("2026-12-25", Some(("08:00", "08:00")))], &["KV-128 exceptions.0.on.end"]);
    check(|r| r.exceptions = vec![exception("", None); EXCEPTIONS_MAX + 1], &["KV-128 exceptions"]);
    check(|r| *r = ScheduleRequest::default(), &["KV-129 database_ids", "KV-125 time_zone", "KV-126 windows"]);
}

#[test]
fn the_record_looks_like_the_request() {
    let database = DatabaseId::from_random([1; 16]).to_string();
    let asked = json!({
        "database_ids": [database],
        "time_zone": "Europe/Paris",
        "windows": [{ "days": ["sat", "fri"], "start": "22:00", "end": "06:00" }],
        "exceptions": [{ "date": "2026-12-25", "on": null }, { "date": "2026-12-24", "on": { "start": "08:00", "end": "24:00" } }],
        "ready_by": true,
        "enabled": false,
    });
    let request: ScheduleRequest = serde_json::from_value(asked.clone()).unwrap();
    let spec = request.validate().unwrap();
    assert_eq!(serde_json::to_value(&spec).unwrap(), asked);
    assert_eq!(serde_json::from_value::<crate::Valid<ScheduleSpec>>(asked).unwrap(), spec);
    let least = json!({ "database_ids": [database], "time_zone": "UTC", "windows": [{ "days": ["mon"], "start": "08:00", "end": "18:00" }] });
    let spec = serde_json::from_value::<ScheduleRequest>(least).unwrap().validate().unwrap();
    assert!(spec.enabled && !spec.ready_by && spec.exceptions.is_empty());
    assert!(serde_json::from_value::<ScheduleRequest>(json!({ "timezone": "UTC" })).is_err(), "an unknown word is a slip");
}
