//! A schedule as customers write it, and as it is once every word of it has been read.
use crate::DatabaseId;
use jiff::civil::{Date, DateTime, Weekday};
use jiff::tz::{AmbiguousOffset, TimeZone, TimeZoneDatabase};
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::sync::LazyLock;

/// Most databases of a schedule: those that leave and those that join are written in one transaction with it.
pub const DATABASES_MAX: usize = 49;
/// Most windows of a schedule.
pub const WINDOWS_MAX: usize = 20;
/// Most dated exceptions of a schedule.
pub const EXCEPTIONS_MAX: usize = 100;
/// Minutes of a day as clocks count it.
pub(super) const DAY_MINUTES: u16 = 24 * 60;
/// Transitions looked at to find the end of a gap: it is the next one.
const TRANSITIONS_MAX: usize = 4;

/// A schedule as asked for: what is left out takes its default.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ScheduleRequest {
    /// Required: 1 to 49.
    pub database_ids: Vec<String>,
    /// Required: a name of the IANA database.
    pub time_zone: String,
    /// Required: when the databases are on.
    pub windows: Vec<WindowRequest>,
    /// Dates that go otherwise.
    pub exceptions: Vec<ExceptionRequest>,
    /// Whether a resume begins early enough to be over when its window starts. Default: no.
    pub ready_by: Option<bool>,
    /// Default: yes.
    pub enabled: Option<bool>,
}

/// A window as asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct WindowRequest {
    /// `mon` to `sun`: the days on which it begins.
    pub days: Vec<String>,
    /// `HH:MM`.
    pub start: String,
    /// `HH:MM`, or `24:00`; before the start it is on the next day.
    pub end: String,
}

/// An exception as asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ExceptionRequest {
    /// `YYYY-MM-DD`.
    pub date: String,
    /// On in these hours; left out, nothing begins on that date.
    pub on: Option<HoursRequest>,
}

/// Hours as asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct HoursRequest {
    /// `HH:MM`.
    pub start: String,
    /// `HH:MM`, or `24:00`; before the start it is on the next day.
    pub end: String,
}

/// A schedule with every default filled in; on the wire it looks as its request does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ScheduleSpec {
    /// The databases that follow it.
    pub database_ids: Vec<DatabaseId>,
    /// Whose clocks it follows.
    pub time_zone: Zone,
    /// When the databases are on.
    pub windows: Vec<Window>,
    /// Dates that go otherwise.
    pub exceptions: Vec<Exception>,
    /// Whether a resume begins early enough to be over when its window starts.
    pub ready_by: bool,
    /// While not, the schedule does nothing and power stays as it is.
    pub enabled: bool,
}

/// On in these hours on these days.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Window {
    /// The days on which it begins.
    pub days: Vec<Day>,
    /// From when to when.
    #[serde(flatten)]
    pub hours: Hours,
}

/// A date that goes otherwise.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Exception {
    /// The date.
    pub date: Date,
    /// On in these hours; `None`: nothing begins on that date.
    pub on: Option<Hours>,
}

/// From a time of a day to a later time, of the same day or the next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Hours {
    /// When it begins.
    pub start: TimeOfDay,
    /// When it ends: on the next day if not after the start.
    pub end: TimeOfDay,
}

impl Hours {
    /// How long it is on a day without a change of clocks, in minutes.
    #[must_use]
    pub fn minutes(self) -> u16 {
        if self.crosses_midnight() { DAY_MINUTES - self.start.0 + self.end.0 } else { self.end.0 - self.start.0 }
    }
    /// Whether its end belongs to the next day.
    #[must_use]
    pub fn crosses_midnight(self) -> bool {
        self.end <= self.start
    }
}

impl fmt::Display for Hours {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}–{}", self.start, self.end)
    }
}

/// A time on a clock, to the minute: `00:00` to `24:00`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema), schemars(with = "String"))]
pub struct TimeOfDay(u16);

impl TimeOfDay {
    /// The end of a day.
    pub(crate) const MIDNIGHT: Self = Self(DAY_MINUTES);
    /// A whole hour of a day; beyond the last it is midnight.
    pub(crate) const fn at(hour: u16) -> Self {
        if hour < 24 { Self(hour * 60) } else { Self::MIDNIGHT }
    }
    /// Reads `HH:MM`; `None` when it is written otherwise or is no time.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let &[h1, h2, b':', m1, m2] = text.as_bytes() else { return None };
        let two = |tens: u8, ones: u8| (tens.is_ascii_digit() && ones.is_ascii_digit()).then(|| u16::from(tens - b'0') * 10 + u16::from(ones - b'0'));
        let (hour, minute) = (two(h1, h2)?, two(m1, m2)?);
        (minute < 60 && hour * 60 + minute <= DAY_MINUTES).then_some(Self(hour * 60 + minute))
    }
    /// Minutes since `00:00`.
    #[must_use]
    pub fn minutes(self) -> u16 {
        self.0
    }
    /// This time on a date; `24:00` is the next date's midnight. `None` past the end of the calendar.
    pub(super) fn on(self, date: Date) -> Option<DateTime> {
        let date = if self.0 >= DAY_MINUTES { date.tomorrow().ok()? } else { date };
        let hour = i8::try_from(self.0 / 60 % 24).ok()?;
        let minute = i8::try_from(self.0 % 60).ok()?;
        Some(date.at(hour, minute, 0, 0))
    }
}

impl fmt::Display for TimeOfDay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:02}:{:02}", self.0 / 60, self.0 % 60)
    }
}
impl TryFrom<String> for TimeOfDay {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        Self::parse(&text).ok_or_else(|| "a time is written HH:MM".to_owned())
    }
}
impl From<TimeOfDay> for String {
    fn from(time: TimeOfDay) -> String {
        time.to_string()
    }
}

/// A day of the week.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum Day {
    /// Monday.
    Mon,
    /// Tuesday.
    Tue,
    /// Wednesday.
    Wed,
    /// Thursday.
    Thu,
    /// Friday.
    Fri,
    /// Saturday.
    Sat,
    /// Sunday.
    Sun,
}

impl Day {
    /// The week.
    pub const ALL: [Day; 7] = [Self::Mon, Self::Tue, Self::Wed, Self::Thu, Self::Fri, Self::Sat, Self::Sun];
    /// The word as written in HCL.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Mon => "mon",
            Self::Tue => "tue",
            Self::Wed => "wed",
            Self::Thu => "thu",
            Self::Fri => "fri",
            Self::Sat => "sat",
            Self::Sun => "sun",
        }
    }
    /// Reads a day.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|day| day.as_str() == text)
    }
    /// The day of a date.
    pub(super) fn of(date: Date) -> Self {
        match date.weekday() {
            Weekday::Monday => Self::Mon,
            Weekday::Tuesday => Self::Tue,
            Weekday::Wednesday => Self::Wed,
            Weekday::Thursday => Self::Thu,
            Weekday::Friday => Self::Fri,
            Weekday::Saturday => Self::Sat,
            Weekday::Sunday => Self::Sun,
        }
    }
}

/// The bundled zone data, read once.
static ZONES: LazyLock<TimeZoneDatabase> = LazyLock::new(TimeZoneDatabase::bundled);

/// An IANA time zone that Kiven's own copy of the database knows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema), schemars(with = "String"))]
pub struct Zone {
    name: String,
    rules: TimeZone,
}

impl Zone {
    /// Reads a zone's name, in the database's own letters.
    ///
    /// # Errors
    /// When there is no such zone; with the right spelling where only the letters' case differs.
    pub fn parse(name: &str) -> Result<Self, ZoneUnknown> {
        let rules = ZONES.get(name).map_err(|_| ZoneUnknown { meant: None })?;
        match rules.iana_name() {
            Some(own) if own != name => Err(ZoneUnknown { meant: Some(own.to_owned()) }),
            Some(_) => Ok(Self { name: name.to_owned(), rules }),
            None => Err(ZoneUnknown { meant: None }),
        }
    }
    /// UTC.
    pub(crate) fn utc() -> Self {
        Self { name: "UTC".to_owned(), rules: TimeZone::UTC }
    }
    /// The zone's name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.name
    }
    /// What the clocks there show.
    pub(super) fn civil(&self, at: Timestamp) -> DateTime {
        self.rules.to_datetime(at)
    }
    /// The first instant at which the clocks there have reached a time. `None` past the end of time.
    pub(super) fn reached(&self, time: DateTime) -> Option<Timestamp> {
        match self.rules.to_ambiguous_timestamp(time).offset() {
            AmbiguousOffset::Unambiguous { offset } => offset.to_timestamp(time).ok(),
            AmbiguousOffset::Fold { before, after: _ } => before.to_timestamp(time).ok(),
            AmbiguousOffset::Gap { before, after } => Some(self.end_of_gap(after.to_timestamp(time).ok()?, before.to_timestamp(time).ok()?)),
        }
    }
    /// The instant from which on the clocks there never show an earlier time again. `None` past the end of time.
    pub(super) fn passed(&self, time: DateTime) -> Option<Timestamp> {
        match self.rules.to_ambiguous_timestamp(time).offset() {
            AmbiguousOffset::Fold { before, after } => {
                let last = after.to_timestamp(time).ok()?;
                // What comes twice may begin with this very time: then no earlier one comes again after its first.
                let begins = self.rules.to_offset(last - SignedDuration::from_secs(1)) != after;
                if begins { before.to_timestamp(time).ok() } else { Some(last) }
            }
            AmbiguousOffset::Unambiguous { .. } | AmbiguousOffset::Gap { .. } => self.reached(time),
        }
    }
    /// The transition between an instant before a gap and one after it.
    fn end_of_gap(&self, before: Timestamp, after: Timestamp) -> Timestamp {
        let mut next = self.rules.following(before).take(TRANSITIONS_MAX).map(|transition| transition.timestamp());
        next.find(|at| *at <= after && self.rules.to_offset(*at) != self.rules.to_offset(before)).unwrap_or(after)
    }
}

/// No zone of that name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("is not a time zone of the IANA database")]
pub struct ZoneUnknown {
    /// The name in the database's letters, where there is one.
    pub meant: Option<String>,
}

impl fmt::Display for Zone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}
impl TryFrom<String> for Zone {
    type Error = ZoneUnknown;
    fn try_from(name: String) -> Result<Self, ZoneUnknown> {
        Self::parse(&name)
    }
}
impl From<Zone> for String {
    fn from(zone: Zone) -> String {
        zone.name
    }
}

/// An instant moved by a duration, held at the ends of time.
pub(super) fn moved(at: Timestamp, by: SignedDuration) -> Timestamp {
    at.checked_add(by).unwrap_or(if by.is_negative() { Timestamp::MIN } else { Timestamp::MAX })
}
