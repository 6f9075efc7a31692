//! What a provider function implements: a pure computation on its arguments.
use crate::schema::MARKDOWN;
use crate::{Type, Value, wire};

/// One parameter of a function.
#[derive(Debug, Clone)]
pub struct Parameter {
    name: &'static str,
    of: Type,
    description: String,
    null: bool,
    unknown: bool,
}

impl Parameter {
    /// A parameter of any type.
    #[must_use]
    pub fn new(name: &'static str, of: Type) -> Self {
        Self { name, of, description: String::new(), null: false, unknown: false }
    }
    /// What it is, in Markdown.
    #[must_use]
    pub fn describe(mut self, markdown: impl Into<String>) -> Self {
        self.description = markdown.into();
        self
    }
    /// Null may be given; otherwise the client refuses it.
    #[must_use]
    pub fn or_null(mut self) -> Self {
        self.null = true;
        self
    }
    /// The function is called with unknown values too; otherwise the client takes the result as unknown without a call.
    #[must_use]
    pub fn or_unknown(mut self) -> Self {
        self.unknown = true;
        self
    }
    /// Its name.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.name
    }
    /// What it is, in Markdown.
    #[must_use]
    pub fn description(&self) -> &str {
        &self.description
    }
    /// The type of its values.
    #[must_use]
    pub fn value_type(&self) -> &Type {
        &self.of
    }
    fn to_wire(&self) -> wire::Parameter {
        wire::Parameter {
            name: self.name.to_owned(),
            r#type: self.of.to_json().to_string().into_bytes(),
            allow_null_value: self.null,
            allow_unknown_values: self.unknown,
            description: self.description.clone(),
            description_kind: MARKDOWN,
        }
    }
}

/// What a function takes and gives.
#[derive(Debug, Clone)]
pub struct Signature {
    pub(crate) parameters: Vec<Parameter>,
    pub(crate) variadic: Option<Parameter>,
    pub(crate) returns: Type,
    summary: String,
    description: String,
    deprecated: Option<String>,
}

impl Signature {
    /// A function without parameters that gives this.
    #[must_use]
    pub fn new(returns: Type) -> Self {
        Self { parameters: Vec::new(), variadic: None, returns, summary: String::new(), description: String::new(), deprecated: None }
    }
    /// Adds a parameter.
    #[must_use]
    pub fn parameter(mut self, parameter: Parameter) -> Self {
        self.parameters.push(parameter);
        self
    }
    /// The last parameter, which may be given any number of times.
    #[must_use]
    pub fn variadic(mut self, parameter: Parameter) -> Self {
        self.variadic = Some(parameter);
        self
    }
    /// What it does: one line, and the whole of it in Markdown.
    #[must_use]
    pub fn describe(mut self, summary: impl Into<String>, markdown: impl Into<String>) -> Self {
        (self.summary, self.description) = (summary.into(), markdown.into());
        self
    }
    /// Says what to use instead.
    #[must_use]
    pub fn deprecated(mut self, instead: impl Into<String>) -> Self {
        self.deprecated = Some(instead.into());
        self
    }
    /// The parameter of an argument's position; past the last one, the variadic parameter.
    #[must_use]
    pub fn parameter_at(&self, position: usize) -> Option<&Parameter> {
        self.parameters.get(position).or(self.variadic.as_ref())
    }
    pub(crate) fn to_wire(&self) -> wire::Function {
        wire::Function {
            parameters: self.parameters.iter().map(Parameter::to_wire).collect(),
            variadic_parameter: self.variadic.as_ref().map(Parameter::to_wire),
            r#return: Some(wire::Return { r#type: self.returns.to_json().to_string().into_bytes() }),
            summary: self.summary.clone(),
            description: self.description.clone(),
            description_kind: MARKDOWN,
            deprecation_message: self.deprecated.clone().unwrap_or_default(),
        }
    }
}

/// Why a function has no result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FunctionError {
    /// What is wrong, for the person at the terminal.
    pub text: String,
    /// The argument that is wrong, counted from 0.
    pub argument: Option<usize>,
}

impl FunctionError {
    /// An error of the call as a whole.
    pub fn new(text: impl Into<String>) -> Self {
        Self { text: text.into(), argument: None }
    }
    /// An error of one argument.
    pub fn of_argument(position: usize, text: impl Into<String>) -> Self {
        Self { text: text.into(), argument: Some(position) }
    }
    pub(crate) fn to_wire(&self) -> wire::FunctionError {
        wire::FunctionError { text: self.text.clone(), function_argument: self.argument.and_then(|position| i64::try_from(position).ok()) }
    }
}

/// A function, called as `provider::NAME::FUNCTION(…)` by Terraform 1.8 and later. It gives the same for the same
/// arguments, needs no configuration, and changes nothing.
pub trait Function: Send + Sync {
    /// What it takes and gives.
    fn signature(&self) -> Signature;
    /// Computes the result. There are as many arguments as parameters, and as many more as the variadic one was given.
    ///
    /// # Errors
    /// When an argument makes no sense.
    fn call(&self, arguments: &[Value]) -> Result<Value, FunctionError>;
}
