//! Functions: with a variadic parameter, with values of any type, and with a result of any type.
use kiven_tfplugin::{Function, FunctionError, Parameter, Signature, Type, Value};

/// `shout(text, more...)`.
pub(crate) struct Shout;

impl Function for Shout {
    fn signature(&self) -> Signature {
        Signature::new(Type::String)
            .describe("Says it louder", "Joins its arguments in upper case.")
            .parameter(Parameter::new("text", Type::String).describe("What to say."))
            .variadic(Parameter::new("more", Type::String))
    }
    fn call(&self, arguments: &[Value]) -> Result<Value, FunctionError> {
        let words: Vec<&str> = arguments.iter().filter_map(Value::as_str).collect();
        match words.iter().position(|word| word.is_empty()) {
            Some(empty) => Err(FunctionError::of_argument(empty, "there is nothing to say")),
            None => Ok(words.join(" ").to_uppercase().into()),
        }
    }
}

/// `describe(value)`: also of null and of what is not known yet.
pub(crate) struct Describe;

impl Function for Describe {
    fn signature(&self) -> Signature {
        Signature::new(Type::String)
            .describe("Names what it is given", "Answers the type of a value.")
            .parameter(Parameter::new("value", Type::Dynamic).or_null().or_unknown())
    }
    fn call(&self, arguments: &[Value]) -> Result<Value, FunctionError> {
        let word = match arguments.first() {
            Some(Value::Dynamic(dynamic)) if dynamic.value.is_wholly_known() => dynamic.of.word(),
            Some(value) if value.is_unknown() => "unknown",
            Some(value) if value.is_null() => "null",
            Some(_) | None => "partly unknown",
        };
        Ok(word.into())
    }
}

/// `first(values)`: the first element of any list, of its own type.
pub(crate) struct First;

impl Function for First {
    fn signature(&self) -> Signature {
        Signature::new(Type::Dynamic)
            .describe("The first of a list", "Answers the first element, with its own type.")
            .parameter(Parameter::new("values", Type::Dynamic))
            .deprecated("Use `values[0]`.")
    }
    fn call(&self, arguments: &[Value]) -> Result<Value, FunctionError> {
        let Some(Value::Dynamic(dynamic)) = arguments.first() else { return Err(FunctionError::of_argument(0, "it is no list")) };
        let of = match &dynamic.of {
            Type::List(of) => of.as_ref(),
            Type::Tuple(all) => all.first().unwrap_or(&Type::Dynamic),
            _ => return Err(FunctionError::of_argument(0, "it is no list")),
        };
        let first = dynamic.value.as_items().and_then(<[Value]>::first).ok_or_else(|| FunctionError::of_argument(0, "it is empty"))?;
        Ok(Value::dynamic(of.clone(), first.clone()))
    }
}
