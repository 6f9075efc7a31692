//! `schedule_hours(windows)`: hours of being on in a regular week.
use crate::resources::power_schedule::windows_of;
use kiven_model::DatabaseId;
use kiven_model::schedule::{ScheduleRequest, ScheduleSpec};
use kiven_tfplugin::{Function, FunctionError, Parameter, Signature, Type, Value};

/// The function.
pub(crate) struct ScheduleHours;

impl Function for ScheduleHours {
    fn signature(&self) -> Signature {
        let window = [("days", Type::Set(Box::new(Type::String))), ("start", Type::String), ("end", Type::String)];
        let windows = Type::List(Box::new(Type::Object(window.map(|(name, of)| (name.to_owned(), of)).into())));
        Signature::new(Type::Number)
            .describe(
                "The hours of a week in which a schedule is on",
                "Adds up the windows of a `kiven_power_schedule`: a week without exceptions and without a change of clocks has so many hours of being \
                 on. Its rules are those of the resource: windows may touch and cross midnight, and may not overlap.",
            )
            .parameter(Parameter::new("windows", windows).describe("`windows` as a `kiven_power_schedule` takes and gives them."))
    }

    fn call(&self, arguments: &[Value]) -> Result<Value, FunctionError> {
        let windows = windows_of(arguments.first().unwrap_or(&Value::Null));
        // A week's hours depend on no database and on no zone: these stand in.
        let request = ScheduleRequest {
            database_ids: vec![DatabaseId::from_random([0; 16]).to_string()],
            time_zone: "UTC".to_owned(),
            windows,
            ..ScheduleRequest::default()
        };
        let spec = request.validate().map_err(|wrong| {
            let told = wrong.iter().map(|one| format!("{}: {}: {}. {}", one.code, one.field, one.message, one.hint));
            FunctionError::of_argument(0, told.collect::<Vec<_>>().join("\n"))
        })?;
        Ok(ScheduleSpec::hours_per_week(&spec).into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::functions::tests::called;

    fn of(windows: &[(&[&str], &str, &str)]) -> Result<Value, String> {
        let window = |(days, start, end): &(&[&str], &str, &str)| {
            let days = Value::Set(days.iter().map(|day| Value::from(*day)).collect());
            Value::object([("days", days), ("start", (*start).into()), ("end", (*end).into())])
        };
        called(&ScheduleHours, &[Value::List(windows.iter().map(window).collect())])
    }

    #[test]
    fn windows_add_up_or_are_refused_with_their_code() {
        let week = ["mon", "tue", "wed", "thu", "fri"];
        assert_eq!(of(&[(&week, "08:00", "18:00")]), Ok(Value::from(50)));
        assert_eq!(of(&[(&["fri"], "22:00", "01:30"), (&["sat"], "01:30", "02:00")]), Ok(Value::from(4)));
        assert!(of(&[]).unwrap_err().starts_with("0: KV-126: windows: the schedule has no windows"));
        let wrong = of(&[(&["mon"], "8", "18:00"), (&["someday"], "08:00", "24:00")]).unwrap_err();
        assert!(wrong.contains("windows.0.start") && wrong.contains("windows.1.days.0"), "{wrong}");
        assert!(of(&[(&["mon"], "08:00", "18:00"), (&["mon"], "17:00", "19:00")]).unwrap_err().starts_with("0: KV-127: windows.1"));
    }
}
