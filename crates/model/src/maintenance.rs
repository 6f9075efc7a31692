//! The weekly time in which Kiven may do what no one asked for: patch nodes, renew certificates. Pure.
//!
//! A window is laid onto the line of time as a power schedule's is ([`crate::schedule`]), changes of clocks included: one that
//! lies wholly inside a gap of the clocks does not happen that day, one that is passed twice is longer.
use crate::database::Power;
use crate::lifecycle::DatabaseStatus;
use crate::operation::OperationKind;
use crate::request::{Checks, clip};
use crate::schedule::{Day, Hours, ScheduleSpec, TimeOfDay, Window, Zone};
use crate::{Code, OperationId, Violation};
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use std::fmt;

/// The shortest window in minutes: a node group takes about ten.
pub const WINDOW_MINUTES_MIN: u16 = 30;
/// The longest window in minutes; so there is always a next one.
pub const WINDOW_MINUTES_MAX: u16 = 12 * 60;
/// From this age of its AMI's release on a node group is outdated: Amazon publishes a release about every two weeks.
pub const RELEASE_DAYS_MAX: i64 = 35;
/// So long before its end a certificate is renewed in the window. CloudNativePG does it 7 days before, at any time.
pub const CERTIFICATE_DAYS_LEFT: i64 = 30;

const HINT: &str = "Such as { days = [\"sun\"], start = \"02:00\", end = \"04:00\", time_zone = \"UTC\" }.";

/// A maintenance window as asked for: what is left out takes its default, Sunday 02:00 to 04:00 UTC.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub struct MaintenanceWindowRequest {
    /// The days on which it begins, `mon` to `sun`. Default `sun`.
    #[cfg_attr(feature = "schema", schemars(length(min = 1, max = 7)))]
    #[cfg_attr(feature = "schema", schemars(inner(regex(pattern = r"^(mon|tue|wed|thu|fri|sat|sun)$"))))]
    pub days: Option<Vec<String>>,
    /// `HH:MM`. Default `02:00`.
    #[cfg_attr(feature = "schema", schemars(regex(pattern = r"^([01][0-9]|2[0-3]):[0-5][0-9]$")))]
    pub start: Option<String>,
    /// `HH:MM`, or `24:00`; before the start it is on the next day. Default `04:00`.
    #[cfg_attr(feature = "schema", schemars(regex(pattern = r"^(([01][0-9]|2[0-3]):[0-5][0-9]|24:00)$")))]
    pub end: Option<String>,
    /// A name of the IANA database. Default `UTC`.
    #[cfg_attr(feature = "schema", schemars(length(max = 64)))]
    pub time_zone: Option<String>,
}

/// When Kiven may start maintenance by itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct MaintenanceWindow {
    /// The days on which it begins, in the order of the week.
    #[cfg_attr(feature = "schema", schemars(with = "Vec<String>"))]
    pub days: Vec<Day>,
    /// When it begins.
    #[cfg_attr(feature = "schema", schemars(with = "String"))]
    pub start: TimeOfDay,
    /// When it ends: on the next day if not after the start.
    #[cfg_attr(feature = "schema", schemars(with = "String"))]
    pub end: TimeOfDay,
    /// Whose clocks it follows.
    #[cfg_attr(feature = "schema", schemars(with = "String"))]
    pub time_zone: Zone,
}

impl MaintenanceWindow {
    /// Whether it is open.
    #[must_use]
    pub fn open_at(&self, now: Timestamp) -> bool {
        self.calendar().wanted_at(now) == Power::On
    }
    /// The next time that it opens after `now`, and when it closes again. `None` at the end of time only.
    #[must_use]
    pub fn next_open(&self, now: Timestamp) -> Option<(Timestamp, Timestamp)> {
        let calendar = self.calendar();
        let from = calendar.next_on(now)?;
        Some((from, calendar.next_off(from)?))
    }
    /// A calendar that means on while the window is open.
    fn calendar(&self) -> ScheduleSpec {
        ScheduleSpec {
            database_ids: Vec::new(),
            time_zone: self.time_zone.clone(),
            windows: vec![Window { days: self.days.clone(), hours: Hours { start: self.start, end: self.end } }],
            exceptions: Vec::new(),
            ready_by: false,
            enabled: true,
        }
    }
}

impl fmt::Display for MaintenanceWindow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let days: Vec<&str> = self.days.iter().map(|day| day.as_str()).collect();
        write!(f, "{} {} {}", days.join(" "), Hours { start: self.start, end: self.end }, self.time_zone)
    }
}

/// Reads a window; every violation is added with its field.
pub(crate) fn window(request: &MaintenanceWindowRequest, checks: &mut Checks) -> Option<MaintenanceWindow> {
    let mut wrong = |field: &str, message: String, hint: &str| {
        let field = if field.is_empty() { "maintenance_window".to_owned() } else { format!("maintenance_window.{field}") };
        checks.add(Code::MAINTENANCE_INVALID, field, message, hint);
    };
    let days = days(request.days.as_deref(), &mut wrong);
    let mut time = |field: &str, asked: Option<&str>, default: &str| {
        let asked = asked.unwrap_or(default);
        let time = TimeOfDay::parse(asked).filter(|time| field == "end" || *time < TimeOfDay::MIDNIGHT);
        if time.is_none() {
            wrong(field, format!("`{}` is not a time", clip(asked)), "`HH:MM`; only an end may be 24:00.");
        }
        time
    };
    let (start, end) = (time("start", request.start.as_deref(), "02:00"), time("end", request.end.as_deref(), "04:00"));
    let asked = request.time_zone.as_deref().unwrap_or("UTC");
    let time_zone = Zone::parse(asked).map_err(|refused| {
        let hint = refused.meant.as_ref().map_or("Write it as `Europe/Paris` or `UTC`.".to_owned(), |meant| format!("Did you mean `{meant}`?"));
        wrong("time_zone", format!("`{}` {refused}", clip(asked)), &hint);
    });
    let (days, start, end) = (days?, start?, end?);
    let minutes = Hours { start, end }.minutes();
    if !(WINDOW_MINUTES_MIN..=WINDOW_MINUTES_MAX).contains(&minutes) {
        let hint = format!("From {WINDOW_MINUTES_MIN} minutes to {} hours. {HINT}", WINDOW_MINUTES_MAX / 60);
        wrong("end", format!("from {start} to {end} are {minutes} minutes"), &hint);
        return None;
    }
    Some(MaintenanceWindow { days, start, end, time_zone: time_zone.ok()? })
}

fn days(asked: Option<&[String]>, wrong: &mut impl FnMut(&str, String, &str)) -> Option<Vec<Day>> {
    let Some(asked) = asked else { return Some(vec![Day::Sun]) };
    let mut days = Vec::new();
    // More than a week of entries holds a doubled or unknown one among its first eight.
    for text in asked.iter().take(Day::ALL.len() + 1) {
        match Day::parse(text) {
            Some(day) if !days.contains(&day) => days.push(day),
            _ => {
                wrong("days", format!("`{}` is not a day, or stands there twice", clip(text)), "`mon` to `sun`, each once.");
                return None;
            }
        }
    }
    if days.is_empty() {
        wrong("days", "the window has no days".to_owned(), HINT);
        return None;
    }
    days.sort_unstable();
    Some(days)
}

impl Default for MaintenanceWindow {
    fn default() -> Self {
        Self { days: vec![Day::Sun], start: TimeOfDay::at(2), end: TimeOfDay::at(4), time_zone: Zone::utc() }
    }
}

/// What a maintenance decision looks at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// Where the database is in its life.
    pub status: DatabaseStatus,
    /// Whether its window is open: a look that comes late may find it closed.
    pub open: bool,
    /// Whether the way into the account works.
    pub connected: bool,
    /// Whether operator or plugin of its cluster are being moved.
    pub upgrading: bool,
    /// The releases of its node groups' machine images.
    pub releases: Vec<String>,
    /// When its server certificate ends, as far as it is known.
    pub certificate_ends_at: Option<Timestamp>,
}

/// What was decided about a database's maintenance, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct MaintenanceDecision {
    /// When.
    pub at: Timestamp,
    /// What is started; nothing where none is needed or something stands in the way.
    pub starts: Option<OperationKind>,
    /// Why, in words for people.
    pub reason: String,
    /// The operation that was started.
    pub operation_id: Option<OperationId>,
}

/// What is to be started now, and why: one operation a window, so that a window is never longer than it says by more than one.
/// What stands in the way is waited for until the next window.
#[must_use]
pub fn decide(facts: &Facts, now: Timestamp) -> (Option<OperationKind>, String) {
    if facts.status != DatabaseStatus::Available {
        return (None, format!("the database is {}: looked at again in the next window", facts.status));
    }
    if !facts.connected {
        return (None, "the environment is not connected: looked at again in the next window".to_owned());
    }
    if !facts.open {
        return (None, "the window was over before anything could be looked at: the next one".to_owned());
    }
    if facts.upgrading {
        return (None, "the operator is being moved: looked at again in the next window".to_owned());
    }
    if let Some(old) = facts.releases.iter().find(|release| outdated(release, now)) {
        return (Some(OperationKind::PatchNodes), format!("nodes run release {old}, which is older than {RELEASE_DAYS_MAX} days"));
    }
    match facts.certificate_ends_at.filter(|ends_at| expiring(*ends_at, now)) {
        Some(ends_at) => (Some(OperationKind::RotateCertificates), format!("the server certificate ends at {ends_at}")),
        None => (None, "nodes and certificate are young enough".to_owned()),
    }
}

/// Whether a node group's AMI release, written `1.34.1-20260301`, is old enough to be replaced. One that is written otherwise is
/// not: then there is nothing to tell its age by.
#[must_use]
pub fn outdated(release: &str, now: Timestamp) -> bool {
    let date = release.rsplit_once('-').and_then(|(_, date)| jiff::civil::Date::strptime("%Y%m%d", date).ok());
    let published = date.and_then(|date| date.to_zoned(jiff::tz::TimeZone::UTC).ok());
    published.is_some_and(|published| now.duration_since(published.timestamp()) > SignedDuration::from_hours(24 * RELEASE_DAYS_MAX))
}

/// Whether a certificate that ends then is to be renewed in the next window.
#[must_use]
pub fn expiring(ends_at: Timestamp, now: Timestamp) -> bool {
    ends_at.duration_since(now) < SignedDuration::from_hours(24 * CERTIFICATE_DAYS_LEFT)
}

/// Reads a window that stands alone, for tools and tests.
///
/// # Errors
/// Every violation, each with its field.
pub fn read(request: &MaintenanceWindowRequest) -> Result<MaintenanceWindow, Vec<Violation>> {
    let mut checks = Checks::default();
    let window = window(request, &mut checks);
    checks.end(window).map(crate::Valid::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(days: &[&str], start: &str, end: &str, zone: &str) -> MaintenanceWindowRequest {
        MaintenanceWindowRequest {
            days: Some(days.iter().map(|&day| day.to_owned()).collect()),
            start: Some(start.to_owned()),
            end: Some(end.to_owned()),
            time_zone: Some(zone.to_owned()),
        }
    }

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn by_default_it_is_sunday_night() {
        let window = read(&MaintenanceWindowRequest::default()).unwrap();
        assert_eq!((window.clone(), window.to_string()), (MaintenanceWindow::default(), "sun 02:00–04:00 UTC".to_owned()));
        assert!(window.open_at(at("2026-03-29T02:00:00Z")) && !window.open_at(at("2026-03-29T04:00:00Z")));
        let next = (at("2026-04-05T02:00:00Z"), at("2026-04-05T04:00:00Z"));
        assert_eq!(window.next_open(at("2026-03-29T02:00:00Z")), Some(next), "the one that is open is not the next one");
        assert_eq!(window.next_open(at("2026-04-05T01:59:59Z")), Some(next));
    }

    #[test]
    fn it_follows_the_clocks_of_its_zone() {
        let window = read(&asked(&["sun", "wed"], "23:30", "01:00", "Europe/Paris")).unwrap();
        assert_eq!(window.days, [Day::Wed, Day::Sun], "in the order of the week");
        let open = |from: &str| window.next_open(at(from)).unwrap();
        assert_eq!(open("2026-03-23T00:00:00Z"), (at("2026-03-25T22:30:00Z"), at("2026-03-26T00:00:00Z")));
        assert_eq!(open("2026-03-26T00:00:00Z").0, at("2026-03-29T21:30:00Z"), "an hour earlier once it is summer");
        // 02:00 to 03:00 does not exist on 29 March: that night there is no window.
        let gone = read(&asked(&["sun"], "02:00", "03:00", "Europe/Paris")).unwrap();
        assert_eq!(gone.next_open(at("2026-03-28T12:00:00Z")).unwrap().0, at("2026-04-05T00:00:00Z"));
    }

    #[test]
    fn what_is_wrong_is_told_on_its_field() {
        let wrong = |request: MaintenanceWindowRequest| {
            let list = read(&request).err().unwrap_or_default();
            assert!(list.iter().all(|one| one.code == Code::MAINTENANCE_INVALID));
            list.into_iter().map(|one| one.field).collect::<Vec<_>>()
        };
        let every = wrong(asked(&["sunday"], "24:00", "25:00", "Europe/Pariss"));
        assert_eq!(every, ["days", "start", "end", "time_zone"].map(|field| format!("maintenance_window.{field}")));
        assert_eq!(wrong(asked(&[], "02:00", "04:00", "UTC")), ["maintenance_window.days"]);
        assert_eq!(wrong(asked(&["sun", "sun"], "02:00", "04:00", "UTC")), ["maintenance_window.days"]);
        for (start, end) in [("02:00", "02:29"), ("02:00", "02:00"), ("02:00", "14:01")] {
            assert_eq!(wrong(asked(&["sun"], start, end, "UTC")), ["maintenance_window.end"], "{start} to {end}");
        }
    }

    #[test]
    fn one_thing_a_window_and_nothing_where_something_stands_in_the_way() {
        let now = at("2026-03-29T02:00:00Z");
        let needs = Facts {
            status: DatabaseStatus::Available,
            open: true,
            connected: true,
            upgrading: false,
            releases: vec!["1.34.1-20260301".to_owned(), "1.34.1-20260101".to_owned()],
            certificate_ends_at: Some(at("2026-04-01T00:00:00Z")),
        };
        let starts = |facts: Facts| decide(&facts, now).0;
        assert_eq!(starts(needs.clone()), Some(OperationKind::PatchNodes), "nodes first");
        assert_eq!(starts(Facts { releases: vec![], ..needs.clone() }), Some(OperationKind::RotateCertificates));
        assert_eq!(starts(Facts { releases: vec![], certificate_ends_at: None, ..needs.clone() }), None);
        for status in DatabaseStatus::ALL.into_iter().filter(|status| *status != DatabaseStatus::Available) {
            assert_eq!(starts(Facts { status, ..needs.clone() }), None, "{status}");
        }
        assert_eq!(starts(Facts { open: false, ..needs.clone() }), None);
        assert_eq!(starts(Facts { upgrading: true, ..needs.clone() }), None);
        assert_eq!(starts(Facts { connected: false, ..needs }), None);
    }

    #[test]
    fn a_release_ages_by_its_date() {
        let now = at("2026-03-29T02:00:00Z");
        for (release, old) in [("1.34.1-20260201", true), ("1.34.1-20260301", false), ("1.34.1", false), ("", false), ("1.34.1-soon", false)] {
            assert_eq!(outdated(release, now), old, "{release}");
        }
        assert!(expiring(at("2026-04-20T00:00:00Z"), now) && !expiring(at("2026-05-20T00:00:00Z"), now));
    }
}
