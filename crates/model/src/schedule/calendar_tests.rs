//! When windows open and close: zones, changes of clocks, midnight, exceptions; and what it saves.
use super::*;
use crate::database::Power;
use crate::{DatabaseId, Valid};
use expect_test::{Expect, expect};
use jiff::Timestamp;

/// `mon,tue 08:00-18:00`, and exceptions as `2026-12-25 off` or `2026-12-24 08:00-12:00`.
pub(super) fn schedule(zone: &str, lines: &[&str]) -> Valid<ScheduleSpec> {
    let mut request = ScheduleRequest {
        database_ids: vec![DatabaseId::from_random([1; 16]).to_string()],
        time_zone: zone.to_owned(),
        ..ScheduleRequest::default()
    };
    for line in lines {
        let (what, hours) = line.split_once(' ').unwrap();
        let ends = hours.split_once('-').map(|(start, end)| (start.to_owned(), end.to_owned()));
        if what.starts_with("20") {
            let on = ends.map(|(start, end)| HoursRequest { start, end });
            request.exceptions.push(ExceptionRequest { date: what.to_owned(), on });
        } else {
            let (start, end) = ends.unwrap();
            request.windows.push(WindowRequest { days: what.split(',').map(str::to_owned).collect(), start, end });
        }
    }
    request.validate().unwrap_or_else(|violations| panic!("{lines:?}: {violations:?}"))
}

pub(super) fn time(text: &str) -> Timestamp {
    text.parse().unwrap()
}

/// The boundaries between two instants, in UTC and on the clock of the place.
fn check(zone: &str, lines: &[&str], from: &str, to: &str, expected: Expect) {
    let spec = schedule(zone, lines);
    let mut table = String::new();
    for (at, power) in spec.boundaries(time(from), time(to)) {
        let word = if power == Power::On { "on " } else { "off" };
        table.push_str(&format!("{word} {} {}\n", at, spec.time_zone.civil(at).strftime("%a %H:%M")));
        assert_eq!(spec.wanted_at(at), power);
        assert_ne!(spec.wanted_at(at - jiff::SignedDuration::from_secs(1)), power);
    }
    expected.assert_eq(&table);
}

const WORK: &str = "mon,tue,wed,thu,fri 08:00-18:00";
const DAILY: &str = "mon,tue,wed,thu,fri,sat,sun";

#[test]
fn the_weekend_of_the_change_to_summer_time_in_paris() {
    check(
        "Europe/Paris",
        &[WORK],
        "2026-03-27T12:00:00Z",
        "2026-03-30T20:00:00Z",
        expect![[r#"
        off 2026-03-27T17:00:00Z Fri 18:00
        on  2026-03-30T06:00:00Z Mon 08:00
        off 2026-03-30T16:00:00Z Mon 18:00
    "#]],
    );
}

#[test]
fn a_time_that_does_not_exist_is_the_first_instant_after_the_gap() {
    // 29 March 2026, Paris: 02:00 to 03:00 does not exist.
    let (from, to) = ("2026-03-28T12:00:00Z", "2026-03-29T12:00:00Z");
    check(
        "Europe/Paris",
        &["sun 02:30-05:00"],
        from,
        to,
        expect![[r#"
        on  2026-03-29T01:00:00Z Sun 03:00
        off 2026-03-29T03:00:00Z Sun 05:00
    "#]],
    );
    check(
        "Europe/Paris",
        &["sun 01:00-02:30"],
        from,
        to,
        expect![[r#"
        on  2026-03-29T00:00:00Z Sun 01:00
        off 2026-03-29T01:00:00Z Sun 03:00
    "#]],
    );
    check("Europe/Paris", &["sun 02:10-02:50"], from, to, expect![""]);
    check("Europe/Paris", &["sun 02:00-03:00"], from, to, expect![""]);
    check(
        "Europe/Paris",
        &["sat 23:00-02:30", "sun 02:45-04:00"],
        from,
        to,
        expect![[r#"
        on  2026-03-28T22:00:00Z Sat 23:00
        off 2026-03-29T02:00:00Z Sun 04:00
    "#]],
    );
}

#[test]
fn a_time_that_exists_twice_starts_at_its_first_and_ends_at_its_last() {
    // 25 October 2026, Paris: 02:00 to 03:00 exists twice.
    let (from, to) = ("2026-10-24T12:00:00Z", "2026-10-25T12:00:00Z");
    check(
        "Europe/Paris",
        &["sun 02:30-05:00"],
        from,
        to,
        expect![[r#"
        on  2026-10-25T00:30:00Z Sun 02:30
        off 2026-10-25T04:00:00Z Sun 05:00
    "#]],
    );
    check(
        "Europe/Paris",
        &["sun 01:00-02:30"],
        from,
        to,
        expect![[r#"
        on  2026-10-24T23:00:00Z Sun 01:00
        off 2026-10-25T01:30:00Z Sun 02:30
    "#]],
    );
    check(
        "Europe/Paris",
        &["sun 02:10-02:50"],
        from,
        to,
        expect![[r#"
        on  2026-10-25T00:10:00Z Sun 02:10
        off 2026-10-25T01:50:00Z Sun 02:50
    "#]],
    );
    // What comes twice begins with this end: no earlier time comes again, so it is no hour longer.
    check(
        "Europe/Paris",
        &["sun 01:42-02:00"],
        from,
        to,
        expect![[r#"
        on  2026-10-24T23:42:00Z Sun 01:42
        off 2026-10-25T00:00:00Z Sun 02:00
    "#]],
    );
    // Both are on in one of the two hours between: no break.
    check(
        "Europe/Paris",
        &["sun 01:00-02:15", "sun 02:45-04:00"],
        from,
        to,
        expect![[r#"
        on  2026-10-24T23:00:00Z Sun 01:00
        off 2026-10-25T03:00:00Z Sun 04:00
    "#]],
    );
}

#[test]
fn other_places_other_clocks() {
    check(
        "America/New_York",
        &["sun 01:30-02:30"],
        "2026-03-01T12:00:00Z",
        "2026-03-08T20:00:00Z",
        expect![[r#"
        on  2026-03-08T06:30:00Z Sun 01:30
        off 2026-03-08T07:00:00Z Sun 03:00
    "#]],
    );
    check(
        "America/New_York",
        &["sun 01:30-02:30"],
        "2026-10-31T12:00:00Z",
        "2026-11-01T20:00:00Z",
        expect![[r#"
        on  2026-11-01T05:30:00Z Sun 01:30
        off 2026-11-01T07:30:00Z Sun 02:30
    "#]],
    );
    // Lord Howe moves its clocks by half an hour: back on 5 April, forward on 4 October 2026, at 02:00.
    check(
        "Australia/Lord_Howe",
        &["sun 01:45-02:15"],
        "2026-04-04T00:00:00Z",
        "2026-04-05T00:00:00Z",
        expect![[r#"
        on  2026-04-04T14:45:00Z Sun 01:45
        off 2026-04-04T15:45:00Z Sun 02:15
    "#]],
    );
    check(
        "Australia/Lord_Howe",
        &["sun 01:45-02:15"],
        "2026-10-03T00:00:00Z",
        "2026-10-04T00:00:00Z",
        expect![[r#"
        on  2026-10-03T15:15:00Z Sun 01:45
        off 2026-10-03T15:30:00Z Sun 02:30
    "#]],
    );
    check(
        "Asia/Kolkata",
        &[WORK],
        "2026-03-29T00:00:00Z",
        "2026-03-30T23:00:00Z",
        expect![[r#"
        on  2026-03-30T02:30:00Z Mon 08:00
        off 2026-03-30T12:30:00Z Mon 18:00
    "#]],
    );
    // Cairo's clocks go forward at midnight: Friday 24 April 2026 begins at 01:00.
    check(
        "Africa/Cairo",
        &["thu 20:00-24:00", "fri 00:00-02:00"],
        "2026-04-23T00:00:00Z",
        "2026-04-24T12:00:00Z",
        expect![[r#"
        on  2026-04-23T18:00:00Z Thu 20:00
        off 2026-04-23T23:00:00Z Fri 02:00
    "#]],
    );
}

#[test]
fn a_day_that_was_left_out_does_not_happen() {
    // Apia went from Thursday 29 December 2011 to Saturday 31 December.
    let daily = format!("{DAILY} 08:00-18:00");
    check(
        "Pacific/Apia",
        &[&daily],
        "2011-12-29T12:00:00Z",
        "2011-12-31T06:00:00Z",
        expect![[r#"
        on  2011-12-29T18:00:00Z Thu 08:00
        off 2011-12-30T04:00:00Z Thu 18:00
        on  2011-12-30T18:00:00Z Sat 08:00
        off 2011-12-31T04:00:00Z Sat 18:00
    "#]],
    );
    // The night of the day left out has no evening; its small hours belong to Saturday and exist.
    let nightly = format!("{DAILY} 22:00-06:00");
    check(
        "Pacific/Apia",
        &[&nightly],
        "2011-12-29T20:00:00Z",
        "2011-12-31T20:00:00Z",
        expect![[r#"
        on  2011-12-30T08:00:00Z Thu 22:00
        off 2011-12-30T16:00:00Z Sat 06:00
        on  2011-12-31T08:00:00Z Sat 22:00
        off 2011-12-31T16:00:00Z Sun 06:00
    "#]],
    );
}

#[test]
fn windows_cross_midnight_touch_and_follow_exceptions() {
    check(
        "UTC",
        &["sun 22:00-06:00", "mon 06:00-08:00"],
        "2026-11-21T00:00:00Z",
        "2026-11-24T00:00:00Z",
        expect![[r#"
        on  2026-11-22T22:00:00Z Sun 22:00
        off 2026-11-23T08:00:00Z Mon 08:00
    "#]],
    );
    check(
        "UTC",
        &["mon,tue,wed 00:00-24:00"],
        "2026-11-22T00:00:00Z",
        "2026-11-28T00:00:00Z",
        expect![[r#"
        on  2026-11-23T00:00:00Z Mon 00:00
        off 2026-11-26T00:00:00Z Thu 00:00
    "#]],
    );
    // An exception replaces what begins on its date; Wednesday's night still runs to its end.
    let christmas = ["mon,tue,wed,thu,fri 20:00-02:00", "2026-12-24 08:00-12:00", "2026-12-25 off", "2026-12-26 10:00-24:00"];
    check(
        "UTC",
        &christmas,
        "2026-12-23T12:00:00Z",
        "2026-12-28T12:00:00Z",
        expect![[r#"
        on  2026-12-23T20:00:00Z Wed 20:00
        off 2026-12-24T02:00:00Z Thu 02:00
        on  2026-12-24T08:00:00Z Thu 08:00
        off 2026-12-24T12:00:00Z Thu 12:00
        on  2026-12-26T10:00:00Z Sat 10:00
        off 2026-12-27T00:00:00Z Sun 00:00
    "#]],
    );
}

#[test]
fn the_edges_are_after_from_and_up_to_and_including_to() {
    check(
        "UTC",
        &["mon 08:00-18:00"],
        "2026-11-23T08:00:00Z",
        "2026-11-23T18:00:00Z",
        expect![[r#"
        off 2026-11-23T18:00:00Z Mon 18:00
    "#]],
    );
    check(
        "UTC",
        &["mon 08:00-18:00"],
        "2026-11-23T07:59:59Z",
        "2026-11-23T17:59:59Z",
        expect![[r#"
        on  2026-11-23T08:00:00Z Mon 08:00
    "#]],
    );
    let spec = schedule("UTC", &["mon 08:00-18:00"]);
    assert_eq!(spec.boundaries(Timestamp::MIN, Timestamp::MIN).count() + spec.boundaries(Timestamp::MAX, Timestamp::MAX).count(), 0);
}

#[test]
fn next_on_and_off_see_past_every_chain_of_exceptions() {
    let now = time("2026-11-23T12:00:00Z"); // a Monday
    let next = |spec: &ScheduleSpec| [spec.next_on(now), spec.next_off(now)].map(|at| at.map(|at| at.to_string()).unwrap_or_default());
    assert_eq!(next(&schedule("UTC", &["mon 08:00-18:00"])), ["2026-11-30T08:00:00Z", "2026-11-23T18:00:00Z"]);
    assert_eq!(next(&schedule("UTC", &[&format!("{DAILY} 00:00-24:00")])), ["", ""]);
    assert_eq!(next(&schedule("UTC", &[&format!("{DAILY} 00:00-24:00"), "2026-12-25 off"])), ["2026-12-26T00:00:00Z", "2026-12-25T00:00:00Z"]);
    let off = ScheduleSpec { enabled: false, ..schedule("UTC", &["mon 08:00-18:00"]).into_inner() };
    assert_eq!(next(&off), ["", ""]);
    let mut mondays = vec!["mon 08:00-18:00".to_owned()];
    let week = |i: usize| jiff::civil::date(2026, 11, 23).checked_add(jiff::Span::new().weeks(i as i64)).unwrap();
    mondays.extend((0..EXCEPTIONS_MAX).map(|i| format!("{} off", week(i))));
    let spec = schedule("UTC", &mondays.iter().map(String::as_str).collect::<Vec<_>>());
    assert_eq!(next(&spec)[0], format!("{}T08:00:00Z", week(EXCEPTIONS_MAX)));
}

#[test]
fn what_a_regular_week_saves() {
    let check = |lines: &[&str], hours: f64, percent: f64, usd: f64| {
        let spec = schedule("Europe/Paris", lines);
        assert_eq!((spec.hours_per_week(), spec.savings_percent(), spec.savings_usd_per_month(0.10)), (hours, percent, usd), "{lines:?}");
    };
    check(&[WORK], 50.0, 70.2, 51.31);
    check(&[WORK, "2026-12-25 off"], 50.0, 70.2, 51.31);
    check(&["fri,sat 22:00-06:30"], 17.0, 89.9, 65.66);
    check(&[&format!("{DAILY} 00:00-24:00")], 168.0, 0.0, 0.0);
}
