//! From a schedule as asked for to one that is valid: every violation at once, each with its field.
use super::spec::{
    DATABASES_MAX, DAY_MINUTES, Day, EXCEPTIONS_MAX, Exception, Hours, HoursRequest, ScheduleRequest, ScheduleSpec, TimeOfDay, WINDOWS_MAX, Window,
    WindowRequest, Zone,
};
use crate::request::{Checks, clip};
use crate::{Code, DatabaseId, Valid, Violation};
use jiff::civil::Date;

/// Minutes of a week as clocks count it.
const WEEK_MINUTES: u16 = 7 * DAY_MINUTES;
/// Years that an exception's date may have: far enough for every plan, near enough to catch a slip.
const YEARS: std::ops::RangeInclusive<i16> = 2000..=2100;

impl ScheduleRequest {
    /// Reads the request.
    ///
    /// # Errors
    /// Every violation, each with field, code and hint.
    pub fn validate(&self) -> Result<Valid<ScheduleSpec>, Vec<Violation>> {
        let mut checks = Checks::default();
        let database_ids = databases(&self.database_ids, &mut checks);
        let time_zone = zone(&self.time_zone, &mut checks);
        let windows = windows(&self.windows, &mut checks);
        let exceptions = exceptions(&self.exceptions, &mut checks);
        let (ready_by, enabled) = (self.ready_by.unwrap_or(false), self.enabled.unwrap_or(true));
        checks.end(time_zone.map(|time_zone| ScheduleSpec { database_ids, time_zone, windows, exceptions, ready_by, enabled }))
    }
}

fn databases(asked: &[String], checks: &mut Checks) -> Vec<DatabaseId> {
    let code = Code::SCHEDULE_DATABASES_INVALID;
    if asked.is_empty() {
        checks.add(code, "database_ids", "the schedule has no databases", "List the `id` of one kiven_database at least.");
    }
    if asked.len() > DATABASES_MAX {
        checks.add(code, "database_ids", "the schedule has too many databases", format!("At most {DATABASES_MAX}; use a second schedule."));
        return Vec::new();
    }
    let mut ids = Vec::with_capacity(asked.len());
    for (i, text) in asked.iter().enumerate() {
        let field = format!("database_ids.{i}");
        match DatabaseId::parse(text) {
            Err(e) => checks.add(Code::ID_INVALID, field, e.to_string(), "Use the `id` of a kiven_database."),
            Ok(id) if ids.contains(&id) => checks.add(code, field, format!("`{id}` stands there twice"), "List each database once."),
            Ok(id) => ids.push(id),
        }
    }
    ids
}

fn zone(asked: &str, checks: &mut Checks) -> Option<Zone> {
    let refused = match Zone::parse(asked) {
        Ok(zone) => return Some(zone),
        Err(refused) => refused,
    };
    let hint = refused.meant.as_ref().map_or("Write it as `Europe/Paris` or `UTC`.".to_owned(), |meant| format!("Did you mean `{meant}`?"));
    checks.add(Code::TIME_ZONE_UNKNOWN, "time_zone", format!("`{}` {refused}", clip(asked)), hint);
    None
}

fn windows(asked: &[WindowRequest], checks: &mut Checks) -> Vec<Window> {
    let code = Code::WINDOW_INVALID;
    if asked.is_empty() {
        checks.add(code, "windows", "the schedule has no windows", "Say when the databases are on.");
    }
    if asked.len() > WINDOWS_MAX {
        checks.add(code, "windows", "the schedule has too many windows", format!("At most {WINDOWS_MAX}."));
        return Vec::new();
    }
    let mut windows: Vec<(usize, Window)> = Vec::with_capacity(asked.len());
    for (i, request) in asked.iter().enumerate() {
        let days = days(&request.days, i, checks);
        let hours = hours(&request.start, &request.end, &format!("windows.{i}"), code, checks);
        let Some(window) = hours.map(|hours| Window { days, hours }) else { continue };
        if let Some((other, first, day)) = windows.iter().find_map(|(j, other)| meet(other, &window).map(|day| (*j, other, day))) {
            checks.add(
                Code::WINDOWS_OVERLAP,
                format!("windows.{i}"),
                format!("{} overlaps windows.{other} ({}) on {}", window.hours, first.hours, day.as_str()),
                "Windows may touch, not overlap; one that crosses midnight reaches into the next day.",
            );
        }
        windows.push((i, window));
    }
    windows.into_iter().map(|(_, window)| window).collect()
}

fn days(asked: &[String], window: usize, checks: &mut Checks) -> Vec<Day> {
    let hint = "`mon`, `tue`, `wed`, `thu`, `fri`, `sat`, `sun`, each once.";
    let code = Code::WINDOW_INVALID;
    let field = format!("windows.{window}.days");
    if asked.is_empty() {
        checks.add(code, &field, "the window has no days", hint);
    }
    let mut days = Vec::new();
    // More than a week of entries holds a doubled or unknown one among its first eight.
    for (i, text) in asked.iter().take(Day::ALL.len() + 1).enumerate() {
        match Day::parse(text) {
            None => checks.add(code, format!("{field}.{i}"), format!("`{}` is not a day", clip(text)), hint),
            Some(day) if days.contains(&day) => checks.add(code, format!("{field}.{i}"), format!("`{text}` stands there twice"), hint),
            Some(day) => days.push(day),
        }
    }
    days
}

fn hours(start: &str, end: &str, field: &str, code: Code, checks: &mut Checks) -> Option<Hours> {
    let start_time = TimeOfDay::parse(start).filter(|time| time.minutes() < DAY_MINUTES);
    let end_time = TimeOfDay::parse(end);
    if start_time.is_none() {
        checks.add(code, format!("{field}.start"), format!("`{}` is not a time to start at", clip(start)), "`HH:MM`, from 00:00 to 23:59.");
    }
    if end_time.is_none() {
        checks.add(code, format!("{field}.end"), format!("`{}` is not a time to end at", clip(end)), "`HH:MM`, from 00:00 to 24:00.");
    }
    let hours = Hours { start: start_time?, end: end_time? };
    if hours.start == hours.end {
        checks.add(code, format!("{field}.end"), format!("it begins and ends at {start}"), "For a whole day write 00:00 to 24:00.");
        return None;
    }
    Some(hours)
}

/// A day on which two windows cover the same minute of a regular week.
fn meet(one: &Window, other: &Window) -> Option<Day> {
    let starts = |window: &Window| -> Vec<(Day, u16)> {
        let of = |day: &Day| (*day, (*day as u16) * DAY_MINUTES + window.hours.start.minutes());
        window.days.iter().map(of).collect()
    };
    // On the circle of the week two arcs overlap when one begins inside the other.
    let after = |from: u16, to: u16| (to + WEEK_MINUTES - from) % WEEK_MINUTES;
    let others = starts(other);
    starts(one).into_iter().find_map(|(_, a)| {
        let clash = |(_, b): &&(Day, u16)| after(a, *b) < one.hours.minutes() || after(*b, a) < other.hours.minutes();
        others.iter().find(clash).map(|(day, _)| *day)
    })
}

fn exceptions(asked: &[super::ExceptionRequest], checks: &mut Checks) -> Vec<Exception> {
    let code = Code::EXCEPTION_INVALID;
    if asked.len() > EXCEPTIONS_MAX {
        checks.add(code, "exceptions", "the schedule has too many exceptions", format!("At most {EXCEPTIONS_MAX}; remove dates that are over."));
        return Vec::new();
    }
    let mut exceptions: Vec<Exception> = Vec::with_capacity(asked.len());
    for (i, request) in asked.iter().enumerate() {
        let field = format!("exceptions.{i}");
        let on = match &request.on {
            None => None,
            Some(HoursRequest { start, end }) => hours(start, end, &format!("{field}.on"), code, checks),
        };
        // The parser takes more ways of writing a date than the one we print.
        let date = request.date.parse::<Date>().ok().filter(|date| date.to_string() == request.date && YEARS.contains(&date.year()));
        let Some(date) = date else {
            let message = format!("`{}` is not a date", clip(&request.date));
            checks.add(code, format!("{field}.date"), message, format!("`YYYY-MM-DD`, from {} to {}.", YEARS.start(), YEARS.end()));
            continue;
        };
        if exceptions.iter().any(|other| other.date == date) {
            checks.add(code, format!("{field}.date"), format!("{date} stands there twice"), "Write each date once.");
        }
        exceptions.push(Exception { date, on });
    }
    exceptions
}
